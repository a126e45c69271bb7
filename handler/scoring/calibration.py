"""Calibrated log-odds as a probability."""

from math import exp


def log_odds_to_probability(log_odds: float) -> float:
    """The probability in [0, 1] of log-odds: the logistic function, without overflow."""
    if log_odds >= 0:
        return 1.0 / (1.0 + exp(-log_odds))
    odds = exp(log_odds)
    return odds / (1.0 + odds)
