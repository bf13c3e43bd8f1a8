"""Specs, hooks, and who provides what."""
