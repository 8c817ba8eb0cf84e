"""Background field removal."""
