"""A model's trees in Python, followed as far as the known features decide: what is left are the ways of the others."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ctypes import c_float
from math import isnan
from typing import Any, NamedTuple


class Split(NamedTuple):
    """A node that asks for a feature."""

    feature: int
    threshold: float
    """From which on a number goes to the right; without meaning where there are categories."""
    categories: frozenset[int] | None
    """Those that go to the right."""
    left: "Tree"
    right: "Tree"
    missing: "Tree"
    """Where a missing value goes: one of the two."""


Tree = Split | float


def trees_of(model: Mapping[str, Any]) -> list[Tree]:
    """The trees of a model as XGBoost's JSON; a leaf is its value."""
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
    # Children stand behind their parents.
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
    """What is left of a tree once all but some moving features are as in a row of float32 values."""
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
    """A sum of trees: those that some features move, and what the others add up to."""

    trees: list[Split]
    rest: float

    def resolved(self, row: Sequence[float], moving: Collection[int]) -> "Sum":
        """The sum once all but some moving features are as in a row of float32 values."""
        return sum_of((resolved(tree, row, moving) for tree in self.trees), self.rest)

    def least(self) -> float:
        """What the sum is never below, whatever values its features take."""
        return self.rest + sum(map(_least, self.trees))

    def thresholds(self) -> dict[int, list[float]]:
        """Per feature the numbers, ascending, from which on a node sends a number to the right."""
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
    """The value as the model compares it: what is too large is infinite."""
    return c_float(value).value
