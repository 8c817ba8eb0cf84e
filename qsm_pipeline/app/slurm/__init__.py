"""Slurm job arrays: the script, and who is done."""
