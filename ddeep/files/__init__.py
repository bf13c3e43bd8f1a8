"""Whole files, nothing trusted."""
