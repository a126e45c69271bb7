"""The sentences that answers carry: a reason, and a number as a person reads it."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from handler.scoring.features import Features


def reason_sentence(
    features: Features, reference: Mapping[str, Any], index: int, value: float, contribution: float
) -> str:
    """What a feature's value is, how usual that is among the training rows, and what it does to the risk.

    `index` and `value` are the feature's in the vector, `reference` the bundle's; `contribution` is in log-odds.
    """
    name = features.names[index]
    effect = "raises the risk" if contribution > 0 else "lowers the risk" if contribution < 0 else "changes nothing"
    seen = reference[name]
    known = features.display(index, value)
    if known is None and index >= len(features.encoders):
        return f"{name} cannot be computed from this request; {effect}"
    if known is None:
        return f"{name} is missing, as in {seen['missing']:.1%} of past requests; {effect}"
    if isinstance(known, str):
        return f"{name} is {known}, as in {seen['shares'][known]:.1%} of past requests; {effect}"
    unit = f" {features.units[index]}" if features.units[index] else ""
    return f"{name} is {shown(known)}{unit}, {_how_unusual(known, seen['percentiles'])}; {effect}"


def shown(value: float) -> str:
    """A number as a person reads it.

    >>> shown(1234567.891), shown(950.25), shown(14.0), shown(0.01234)
    ('1,234,567.89', '950.25', '14', '0.0123')
    """
    if 0 < abs(value) < 1:
        return f"{value:.3g}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _how_unusual(value: float, percentiles: Sequence[float]) -> str:
    """Where a value stands among the percentiles 0 to 100 of the training rows."""
    above = min(bisect_left(percentiles, value) - 1, 99)
    below = min(len(percentiles) - 1 - bisect_right(percentiles, value), 99)
    if above >= 50:  # noqa: PLR2004 - beyond the median is where "above" says more than "below"
        return f"above {above}% of past values"
    return f"below {below}% of past values" if below >= 50 else "a usual value"  # noqa: PLR2004 - as above
