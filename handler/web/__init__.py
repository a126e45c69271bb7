"""HTTP routes and Lambda events."""
