"""The choice of blocks of features: forward, by gains on the folds that are more than chance."""

from collections.abc import Sequence

import numpy as np

from training.model.blocks import chosen_blocks
from training.run.matrix import Floats

WORTH = {"card": [0.2, 0.25, 0.22], "device": [0.1, 0.12, 0.14], "shop": [0.01, -0.02, 0.02]}


def added(chosen: Sequence[str]) -> Floats:
    """Average precisions in three folds, to which each block adds what it is worth."""
    return 0.3 + np.sum([np.zeros(3), *(WORTH[name] for name in chosen)], axis=0)


def test_the_best_block_is_kept_first() -> None:
    """Each is measured beside those that were kept before it."""
    gains = chosen_blocks(["shop", "device", "card"], added)
    assert [(gain.block, gain.is_kept) for gain in gains] == [("card", True), ("device", True), ("shop", False)]
    assert np.allclose([gain.mean for gain in gains], [np.mean(WORTH[gain.block]) for gain in gains])
    assert np.isclose(gains[0].standard_error, np.std(WORTH["card"], ddof=1) / np.sqrt(3))


def test_two_blocks_that_say_the_same_are_kept_once() -> None:
    """What a block gains alone is no gain beside another that has it too."""
    gains = chosen_blocks(["card", "twin"], lambda chosen: added(("card",) if chosen else ()))
    assert [(gain.block, gain.is_kept, gain.mean) for gain in gains][1] == ("twin", False, 0.0)


def test_gains_within_chance_are_left_out() -> None:
    """With no gain above one standard error nothing is kept, and every block is reported."""
    gains = chosen_blocks(["shop", "noise"], lambda chosen: added(["shop"] if "shop" in chosen else []))
    assert [gain.is_kept for gain in gains] == [False, False]
