"""From a request to a score; shared with training."""
