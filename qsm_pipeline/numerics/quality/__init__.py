"""Numbers that tell whether a susceptibility map can be trusted."""
