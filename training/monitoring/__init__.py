"""From the prediction log to a verdict: ok, watch, retrain or insufficient."""
