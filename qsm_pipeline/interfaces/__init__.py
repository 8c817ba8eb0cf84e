"""Thin nipype nodes: load, call one function, save."""
