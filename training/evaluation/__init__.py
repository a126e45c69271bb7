"""Statistics of scored, labelled rows; they know no file and no model."""
