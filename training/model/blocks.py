"""Forward selection of the blocks of features that help on the folds, the best first, by more than a standard error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from handler.scoring.features import feature_names
from training.declaration import ScorerDeclaration
from training.evaluation.intervals import is_within_standard_errors, standard_error
from training.model.early_stopping import fit_folds
from training.model.folds import Fold
from training.run.matrix import Floats
from training.run.progress import progress


@dataclass(frozen=True)
class Gain:
    """What a block adds to average precision over the folds, on top of the blocks that were kept before it."""

    block: str
    mean: float
    standard_error: float
    is_kept: bool


def chosen_blocks(blocks: Sequence[str], precisions_of: Callable[[Sequence[str]], Floats]) -> list[Gain]:
    """The gain of each block: first the kept ones, in the order in which they were chosen, then the others.

    `precisions_of` returns the average precision in each fold, (n_folds,), of a model with some of the blocks.
    """
    gains: list[Gain] = []
    waiting, best = list(blocks), precisions_of(())
    for _ in progress(blocks, "histories", total=len(blocks)):
        kept = [gain.block for gain in gains]
        precisions = {block: precisions_of((*kept, block)) for block in waiting}
        block = max(waiting, key=lambda block: float(precisions[block].mean()))
        tried = [_gain(name, precisions[name] - best) for name in sorted(waiting, key=lambda name: name != block)]
        if not tried[0].is_kept:
            gains += [replace(gain, is_kept=False) for gain in tried]
            break
        gains.append(tried[0])
        waiting.remove(block)
        best = precisions[block]
    return gains


def _gain(block: str, differences: Floats) -> Gain:
    is_kept = not is_within_standard_errors(differences)
    return Gain(block, float(differences.mean()), float(standard_error(differences)), is_kept)


def block_precisions(folds: Sequence[Fold], every: ScorerDeclaration, some: ScorerDeclaration) -> Floats:
    """The average precision in each fold, (n_folds,), of a model that uses only `some` of the encoded features."""
    names = list(feature_names(every.contract))
    places = [names.index(name) for name in feature_names(some.contract)]
    narrow = [replace(fold, train=fold.train[:, places], validate=fold.validate[:, places]) for fold in folds]
    return np.array(fit_folds(narrow, some, some.model).precisions)
