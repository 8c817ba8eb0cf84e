"""Losses, one training step and its state."""
