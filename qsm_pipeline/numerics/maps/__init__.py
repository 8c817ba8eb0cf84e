"""What is made of a susceptibility map."""
