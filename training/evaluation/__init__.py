"""Statistics of scored, labelled rows, independent of files and models."""
