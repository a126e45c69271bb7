"""The learned categoriser: accuracy on names it has not seen, and "other" for names like none it knows."""

from collections.abc import Callable

import pytest

from handler.scoring.categoriser import categoriser
from training.intake.synthetic.item_catalogue import items
from training.model.categoriser import held_out_report, learn_categoriser

Categorise = Callable[[str], str]


@pytest.fixture(scope="module")
def category_of() -> Categorise:
    """The category of a text, by the categoriser learned from the whole shipped catalogue."""
    names, categories = zip(*items(), strict=True)
    learned = learn_categoriser(names, categories)
    code_of = categoriser(learned)
    labels = ["other", *learned["categories"]]
    return lambda text: labels[code_of(text)]


@pytest.fixture(scope="module")
def report() -> dict[str, float]:
    """The categoriser's figures on held-out names of the shipped catalogue."""
    names, categories = zip(*items(), strict=True)
    return held_out_report(names, categories)


def swapped(name: str) -> str:
    """The name with the two letters in its middle exchanged."""
    middle = len(name) // 2
    return name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :]


def test_held_out_accuracy(report: dict[str, float]) -> None:
    """Names that were not learned get their category in more than three of four cases."""
    assert report["accuracy"] > 0.75


def test_answers_can_be_relied_on(report: dict[str, float]) -> None:
    """Of the unseen names that get a category at all, more than 93 % get the right one."""
    assert report["accuracy_answered"] > 0.93
    assert report["answered"] > 0.75


def test_unknown_names_are_mostly_other(report: dict[str, float]) -> None:
    """Names of a category that was left out are called other more often than names of known categories."""
    assert report["unknown_called_other"] > 2 * (1 - report["answered"])


@pytest.mark.parametrize(
    "text", ["Pad Thai with tofu", "PAD THAI WITH TOFU", "2x pad thai, with tofu (500 g)", "Pad Tahi with tofu"]
)
def test_unseen_dish_is_perishable(category_of: Categorise, text: str) -> None:
    """A dish that is not in the catalogue is recognised by its words, however it is typed."""
    assert "Pad Thai with tofu" not in dict(items())
    assert category_of(text) == "Food, Perishable"


@pytest.mark.parametrize("text", ["qzxv wjkpf", "12345", "!!!", "", " ", "жщцю", "\x00"])
def test_gibberish_is_other(category_of: Categorise, text: str) -> None:
    """A text without a known piece is other."""
    assert category_of(text) == "other"


def test_case_changes_nothing(category_of: Categorise) -> None:
    """Each name in capitals has the category of the name."""
    names = [name for name, _ in items()]
    assert [category_of(name.upper()) for name in names] == [category_of(name) for name in names]


def test_typos_change_little(category_of: Categorise) -> None:
    """After swapping two letters, at least nine of ten names keep their category, and hardly any gets a wrong one."""
    outcomes = [(category_of(swapped(name)), category) for name, category in items()]
    assert sum(got == category for got, category in outcomes) >= 0.9 * len(outcomes)
    assert sum(got not in {category, "other"} for got, category in outcomes) <= 0.02 * len(outcomes)


def test_order_of_the_catalogue_changes_nothing() -> None:
    """The learned numbers do not depend on the order of the lines."""
    names, categories = zip(*items(), strict=True)
    assert learn_categoriser(names[::-1], categories[::-1]) == learn_categoriser(names, categories)


@pytest.mark.parametrize(
    ("names", "categories", "present"),
    [([], [], "none"), (["rice", "soup"], ["Food", "Food"], "Food")],
    ids=["no category", "one category"],
)
def test_fewer_than_two_categories(names: list[str], categories: list[str], present: str) -> None:
    """A catalogue with fewer than two categories is refused with the ones it has."""
    with pytest.raises(ValueError, match=f"^a catalogue needs at least two categories; it has {present}$"):
        learn_categoriser(names, categories)


@pytest.mark.parametrize("names_each", [3, 5])
def test_report_of_a_small_catalogue(names_each: int) -> None:
    """A catalogue that can just be learned, two categories of a few names, also gets a report."""
    kinds = {"food": ["rice", "soup", "bread", "cheese", "salad"], "tools": ["hammer", "saw", "drill", "nail", "screw"]}
    pairs = [(name, kind) for kind, names in kinds.items() for name in names[:names_each]]
    names, categories = zip(*pairs, strict=True)
    assert learn_categoriser(names, categories)["categories"] == ["food", "tools"]
    assert all(0 <= share <= 1 for share in held_out_report(names, categories).values())
