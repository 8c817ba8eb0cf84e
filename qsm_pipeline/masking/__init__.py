"""Brain extraction, which needs images with their orientation."""
