"""What the function records: predictions, metrics, logs."""
