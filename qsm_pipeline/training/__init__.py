"""What the command ``cycleqsm`` does: files in, files out."""
