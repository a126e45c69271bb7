"""Data before the pipeline: a user's own file, new labelled rows, synthetic rows."""
