"""From files to checked rows, in windows in time order."""
