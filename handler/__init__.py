"""The Lambda function; training imports its scoring code, so that both compute the same numbers."""
