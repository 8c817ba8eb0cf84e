"""Phase unwrapping."""
