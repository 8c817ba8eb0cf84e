"""Dipole inversion."""
