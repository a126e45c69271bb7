"""Whole files, scored by the function's own code."""
