"""The function: what the Lambda runs, and what training imports so that both compute the same numbers."""
