"""What the function writes down: predictions, metrics, logs."""
