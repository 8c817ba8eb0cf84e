"""Grids, Fourier transforms, the dipole kernel and solvers."""
