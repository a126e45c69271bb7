"""What is learned from training rows."""
