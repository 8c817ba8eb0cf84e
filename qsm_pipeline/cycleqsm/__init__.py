"""CycleQSM: an unsupervised, physics-informed generator from local field to susceptibility."""
