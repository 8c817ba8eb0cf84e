"""Random brains and training samples."""
