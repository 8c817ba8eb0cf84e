"""Adapters to third parties."""
