"""Outliers: values that are new or rare compared with the training rows; an answer warns of them and never fails."""

from collections.abc import Sequence
from typing import Any

from handler.scoring.bundle import Bundle
from handler.scoring.combinations import Combinations
from handler.scoring.features import feature_types
from handler.scoring.sentence import value_text


class Outliers:
    """The ranges, categories and combinations of a bundle's training rows."""

    def __init__(self, bundle: Bundle) -> None:
        """Prepare everything that is the same for all requests."""
        self._features = bundle.features
        reference = bundle.baseline["features"]
        self._ranges = []
        for index, name in enumerate(bundle.features.names):
            if percentiles := bundle.reference[name].get("percentiles"):
                low, high = reference[name]["rare"]
                self._ranges.append((index, percentiles[0], low, high, percentiles[-1]))
        types = feature_types(bundle.contract)
        self._categorical = tuple(index for index, name in enumerate(types) if name == "c")
        self._combinations = Combinations(bundle.baseline["combinations"])

    def warnings(self, row: Sequence[Any], vector: list[float]) -> list[dict[str, Any]]:
        """A warning for each new or rare value, or else for an unlikely combination; `row` holds the fields' values."""
        warnings = []
        for index, lowest, low, high, highest in self._ranges:
            value = vector[index]
            if value < low or value > high:
                shown = value_text(self._features, index, value)
                if lowest <= value <= highest:
                    text = f"{shown} is rarer than one in a thousand"
                else:
                    seen = " to ".join(value_text(self._features, index, end) for end in (lowest, highest))
                    text = f"{shown} is outside the range seen in training, {seen}"
                warnings.append(self._warning(index, value, text))
        for index in self._categorical:
            if vector[index] == 0.0:
                text = f"{row[index]!r} is new, or was too rare in training to be learned"
                warnings.append(self._warning(index, row[index], text))
        # With a new or rare value, every combination is unlikely.
        if not warnings and (pair := self._combinations.unlikely_pair(vector)):
            first, second = pair
            values = [self._features.display(index, vector[index]) for index in pair]
            texts = [
                value_text(self._features, index, value) if isinstance(value, float) else value or "missing"
                for index, value in zip(pair, values, strict=True)
            ]
            text = f"{texts[1]} is hardly ever seen together with {self._features.names[first]} {texts[0]}"
            warnings.append(self._warning(second, values[1], text))
        return warnings

    def _warning(self, index: int, value: float | str | None, text: str) -> dict[str, Any]:
        name = self._features.names[index]
        return {"field": name, "value": value, "sentence": f"{name} {text}"}
