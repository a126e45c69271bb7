"""A model's trees in Python, which can be reduced to the splits on some features once the others are known."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ctypes import c_float
from math import isnan
from typing import Any, NamedTuple


class Split(NamedTuple):
    """A node that splits on a feature."""

    feature: int
    threshold: float
    """The lowest number that goes to the right; meaningless if the split is by category."""
    categories: frozenset[int] | None
    """The codes that go to the right; None if the split is by number."""
    left: "Tree"
    right: "Tree"
    missing: "Tree"
    """The branch of a missing value: `left` or `right`."""


Tree = Split | float


def trees_of(model: Mapping[str, Any]) -> list[Tree]:
    """The trees of a model that is given as XGBoost's JSON; a leaf is a float, its value."""
    return [_tree(tree) for tree in model["learner"]["gradient_booster"]["model"]["trees"]]


def _tree(content: Mapping[str, Any]) -> Tree:
    of_node = {}
    for node, start, size in zip(
        content["categories_nodes"], content["categories_segments"], content["categories_sizes"], strict=True
    ):
        of_node[node] = frozenset(content["categories"][start : start + size])
    names = "left_children", "right_children", "default_left", "split_indices", "split_conditions"
    nodes = list(zip(*(content[name] for name in names), strict=True))
    built: dict[int, Tree] = {}
    # Children come after their parents.
    for number in range(len(nodes) - 1, -1, -1):
        left, right, is_left, feature, condition = nodes[number]
        condition = float32(condition)
        if left == -1:
            built[number] = condition
        else:
            ways = built[left], built[right]
            built[number] = Split(feature, condition, of_node.get(number), *ways, ways[0 if is_left else 1])
    return built[0]


def resolved(tree: Tree, row: Sequence[float], moving: Collection[int]) -> Tree:
    """What is left of a tree if all features but the `moving` ones are as in a row of float32 values."""
    while isinstance(tree, Split):
        feature, threshold, categories, left, right, missing = tree
        if feature in moving:
            ways = resolved(left, row, moving), resolved(right, row, moving)
            if ways[0] == ways[1]:
                return ways[0]
            return Split(feature, threshold, categories, *ways, ways[0 if missing is left else 1])
        value = row[feature]
        if isnan(value):
            tree = missing
        elif categories is None:
            tree = left if value < threshold else right
        else:
            tree = right if int(value) in categories else left
    return tree


class Sum(NamedTuple):
    """A sum of trees: those that still depend on a feature, and what all others add up to."""

    trees: list[Split]
    rest: float

    def resolved(self, row: Sequence[float], moving: Collection[int]) -> "Sum":
        """What is left of the sum if all features but the `moving` ones are as in a row of float32 values."""
        return sum_of((resolved(tree, row, moving) for tree in self.trees), self.rest)

    def least(self) -> float:
        """A lower bound of the sum, whatever values its features take."""
        return self.rest + sum(map(_least, self.trees))

    def thresholds(self) -> dict[int, list[float]]:
        """The thresholds, ascending, of the nodes that split on a number, by feature."""
        by_feature: dict[int, set[float]] = {}
        for tree in self.trees:
            for feature, threshold in _thresholds(tree):
                by_feature.setdefault(feature, set()).add(threshold)
        return {feature: sorted(thresholds) for feature, thresholds in by_feature.items()}


def sum_of(trees: Iterable[Tree], rest: float = 0.0) -> Sum:
    """The sum of some trees and a number."""
    splits = []
    for tree in trees:
        if isinstance(tree, Split):
            splits.append(tree)
        else:
            rest += tree
    return Sum(splits, rest)


def _least(tree: Tree) -> float:
    return min(_least(tree.left), _least(tree.right)) if isinstance(tree, Split) else tree


def _thresholds(tree: Tree) -> Iterator[tuple[int, float]]:
    if isinstance(tree, Split):
        if tree.categories is None:
            yield tree.feature, tree.threshold
        yield from _thresholds(tree.left)
        yield from _thresholds(tree.right)


def float32(value: float) -> float:
    """The value as the model compares it; one that is too large becomes infinite."""
    return c_float(value).value
