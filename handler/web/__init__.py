"""HTTP and Lambda events."""
