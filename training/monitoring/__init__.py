"""From the prediction log to a verdict: ok, watch or retrain."""
