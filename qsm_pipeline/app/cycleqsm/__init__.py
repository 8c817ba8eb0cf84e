"""What the command ``cycleqsm`` does with a trained generator."""
