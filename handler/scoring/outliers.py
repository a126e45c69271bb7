"""Outliers: what a request has that training had not, or hardly ever; told in `warnings`, never a reason to fail."""

from collections.abc import Sequence
from typing import Any

from handler.scoring.bundle import Bundle
from handler.scoring.combinations import Combinations
from handler.scoring.features import feature_types
from handler.scoring.sentence import shown


class Outliers:
    """Knows what is normal for a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        """Prepare what no request changes."""
        self._features = bundle.features
        normal = bundle.baseline["features"]
        self._ranges = []
        for index, name in enumerate(bundle.features.names):
            if percentiles := bundle.reference[name].get("percentiles"):
                low, high = normal[name]["rare"]
                self._ranges.append((index, percentiles[0], low, high, percentiles[-1]))
        kinds = feature_types(bundle.contract)
        self._codes = tuple(index for index, kind in enumerate(kinds) if kind == "c")
        self._combinations = Combinations(bundle.baseline["combinations"])

    def warnings(self, row: Sequence[Any], vector: list[float]) -> list[dict[str, Any]]:
        """A warning for each value that is new or rare, or else for an unlikely combination; `row` holds the fields."""
        found = []
        for index, lowest, low, high, highest in self._ranges:
            value = vector[index]
            if value < low or value > high:
                if lowest <= value <= highest:
                    text = f"{shown(value)} is rarer than one in a thousand"
                else:
                    text = f"{shown(value)} is outside the range seen in training, {shown(lowest)} to {shown(highest)}"
                found.append(self._warning(index, value, text))
        for index in self._codes:
            if vector[index] == 0.0:
                text = f"{row[index]!r} is new, or was too rare in training to be learned"
                found.append(self._warning(index, row[index], text))
        # Where one value is odd already, so is any combination with it.
        if not found and (pair := self._combinations.unlikely(vector)):
            first, second = pair
            values = [self._features.display(index, vector[index]) for index in pair]
            one, other = (shown(value) if isinstance(value, float) else value or "missing" for value in values)
            text = f"{other} is hardly ever seen together with {self._features.names[first]} {one}"
            found.append(self._warning(second, values[1], text))
        return found

    def _warning(self, index: int, value: float | str | None, text: str) -> dict[str, Any]:
        name = self._features.names[index]
        return {"field": name, "value": value, "sentence": f"{name} {text}"}
