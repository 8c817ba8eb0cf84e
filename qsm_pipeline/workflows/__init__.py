"""Factories of nipype workflows and the engine that runs them."""
