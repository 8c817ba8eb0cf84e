"""The page of a group."""
