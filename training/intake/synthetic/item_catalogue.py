"""The items that customers send back, by category, and how they word an item's name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

WORDS: Final[dict[str, Any]] = YAML(typ="safe").load(Path(__file__).with_name("item_words.yaml"))
JUNK: Final[list[str]] = WORDS["junk"]

# The percentage of customers who use each wording.
BRAND_PERCENT: Final = 12
SIZE_PERCENT: Final = 15
QUANTITY_PERCENT: Final = 8
TYPO_PERCENT: Final = 10
UPPER_CASE_PERCENT: Final = 6
CAPITALIZED_PERCENT: Final = 19


def items() -> tuple[tuple[str, str], ...]:
    """The (name, category) pairs of the catalogue, in its order."""
    return tuple((name, category) for category, names in WORDS["items"].items() for name in names)


def customer_wording(name: str, category: str, dice: Sequence[int]) -> str:
    """The item's name as a customer in a hurry writes it; five dice in [0, 1,000,000) decide how.

    >>> customer_wording("chicken curry", "Food, Perishable", [50, 50, 50, 50, 50])
    'chicken curry'
    >>> customer_wording("chicken curry", "Food, Perishable", [50, 100, 50, 2, 300])
    'CHIKCEN CURRY SMALL'
    """
    # The last two digits of each die decide whether to change the name, the others how.
    (brand, size, quantity, case, typo) = (divmod(die, 100) for die in dice)
    text = name
    brands, sizes = WORDS["brands"], WORDS["sizes"][category]
    if brand[1] < BRAND_PERCENT:
        text = f"{brands[brand[0] % len(brands)]} {text}"
    if size[1] < SIZE_PERCENT:
        text = f"{text} {sizes[size[0] % len(sizes)]}"
    if quantity[1] < QUANTITY_PERCENT:
        text = f"{2 + quantity[0] % 4}x {text}"
    if typo[1] < TYPO_PERCENT:
        text = _mistyped(text, at=typo[0] % (len(text) - 1), kind=typo[0] % 3)
    return _cased(text, percentile=case[1])


def _cased(text: str, *, percentile: int) -> str:
    """The text in capitals for the lowest percentiles, capitalized for the next, else as it is."""
    if percentile < UPPER_CASE_PERCENT:
        return text.upper()
    return text.capitalize() if percentile < UPPER_CASE_PERCENT + CAPITALIZED_PERCENT else text


def _mistyped(text: str, *, at: int, kind: int) -> str:
    """The text with the letters at and after `at` swapped, the first doubled, or dropped."""
    first, second = text[at], text[at + 1]
    slip = (second + first, first + first + second, second)[kind]
    return text[:at] + slip + text[at + 2 :]
