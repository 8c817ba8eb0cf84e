"""Arrays to figures, figures to pages."""
