"""Files: NIfTI volumes and locks."""
