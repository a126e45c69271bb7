"""Text categoriser: the category of a free text by a linear model on its character n-grams.

Learned from a catalogue of names by `training/model/categoriser.py`, applied here with the standard library only.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_WORD = re.compile(r"[^\W\d_]+")
_SIZES = (3, 4)


def ngrams(text: str) -> list[str]:
    """The distinct character n-grams of a text, in order of appearance; each word is padded with a space.

    Digits and punctuation carry no information about a category and are left out.
    """
    grams: dict[str, None] = {}
    for word in _WORD.findall(text.lower()):
        padded = f" {word} "
        for size in _SIZES:
            for start in range(len(padded) - size + 1):
                grams[padded[start : start + size]] = None
    return list(grams)


def categoriser(learned: Mapping[str, Any]) -> Callable[[str], int]:
    """A function from a text to its category's code: 0 ("other") if the text resembles nothing in the catalogue.

    `learned`: `categories` (names, code 1 first), `base` (each category's weight for any known n-gram), `weights`
    (n-gram -> category, extra weight, category, extra weight, ...), `min_known` (the share of the text's n-grams that
    must be known), `min_lead` (the lead, per known n-gram, that the best category needs over the second).
    """
    base: list[int] = learned["base"]
    weights: Mapping[str, list[int]] = learned["weights"]
    min_known: float = learned["min_known"]
    min_lead: float = learned["min_lead"]

    # A few thousand names make up most of the traffic; a repeated text costs one look-up.
    @lru_cache(maxsize=4096)
    def code_of(text: str) -> int:
        grams = ngrams(text)
        gram_weights = [weights[gram] for gram in grams if gram in weights]
        if not gram_weights or len(gram_weights) < min_known * len(grams):
            return 0
        totals = [weight * len(gram_weights) for weight in base]
        for extras in gram_weights:
            # By index, because slicing and zipping such short lists takes nearly twice as long.
            for place in range(0, len(extras), 2):
                totals[extras[place]] += extras[place + 1]
        second, best = sorted(totals)[-2:]
        return totals.index(best) + 1 if best - second >= min_lead * len(gram_weights) else 0

    return code_of
