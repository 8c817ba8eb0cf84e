"""Brain masks."""
