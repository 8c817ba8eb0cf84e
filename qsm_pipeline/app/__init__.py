"""What a command does, without its options."""
