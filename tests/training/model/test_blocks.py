"""Forward selection of feature blocks by gains on the folds that exceed chance."""

from collections.abc import Sequence

import numpy as np

from training.model.blocks import chosen_blocks
from training.run.matrix import Floats

WORTH = {"card": [0.2, 0.25, 0.22], "device": [0.1, 0.12, 0.14], "shop": [0.01, -0.02, 0.02]}


def added(chosen: Sequence[str]) -> Floats:
    """Average precision in three folds, to which each chosen block adds its worth."""
    return 0.3 + np.sum([np.zeros(3), *(WORTH[name] for name in chosen)], axis=0)


def test_the_best_block_is_kept_first() -> None:
    """The best block is kept first, and each further block is measured on top of those kept."""
    gains = chosen_blocks(["shop", "device", "card"], added)
    assert [(gain.block, gain.is_kept) for gain in gains] == [("card", True), ("device", True), ("shop", False)]
    assert np.allclose([gain.mean for gain in gains], [np.mean(WORTH[gain.block]) for gain in gains])
    assert np.isclose(gains[0].standard_error, np.std(WORTH["card"], ddof=1) / np.sqrt(3))


def test_two_blocks_that_say_the_same_are_kept_once() -> None:
    """A block's own gain is no gain on top of another block that has the same information."""
    gains = chosen_blocks(["card", "twin"], lambda chosen: added(("card",) if chosen else ()))
    assert [(gain.block, gain.is_kept, gain.mean) for gain in gains][1] == ("twin", False, 0.0)


def test_gains_within_chance_are_left_out() -> None:
    """If no gain exceeds one standard error, nothing is kept, and every block is reported."""
    gains = chosen_blocks(["shop", "noise"], lambda chosen: added(["shop"] if "shop" in chosen else []))
    assert [gain.is_kept for gain in gains] == [False, False]
