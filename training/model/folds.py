"""Prequential folds (Dawid 1984): each validation block is scored by a model fitted on earlier rows only."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from handler.scoring.features import feature_types
from training.data.split import check_folds, prequential_positions
from training.data.window import Window
from training.declaration import ScorerDeclaration
from training.evaluation.intervals import entity_groups
from training.model.encoder import FeatureEncoder
from training.model.resampling import Resampler
from training.params import Resampling
from training.run.matrix import Labels, Matrix, Positions
from training.run.processes import Workers
from training.run.progress import progress


@dataclass(frozen=True)
class Fold:
    """One fold, encoded: (n_rows, n_features) float32 and labels, for training and for validation."""

    train: Matrix
    train_label: Labels
    validate: Matrix
    validate_label: Labels
    validate_groups: Positions | None = None
    """The group that intervals draw each validation row with (`Window.drawn_by`), numbered from 0."""


def encode_folds(
    window: Window, positions: Sequence[tuple[Positions, Positions]], scorer: ScorerDeclaration, catalogue: pd.DataFrame
) -> list[Fold]:
    """The folds as features; each vocabulary is learned from its fold's training rows."""
    label, workers = window.column(scorer.label), Workers(scorer.compute)
    drawn_by = window.drawn_by(scorer.entity)
    folds = []
    for train, block in progress(positions, "encoding folds", total=len(positions)):
        encoder = FeatureEncoder(scorer.contract, catalogue).fit_window(window, workers, train)
        # Copies, because an unlinked file cannot be passed to other processes.
        matrices = [np.array(encoder.encoded(window, workers, part)[:]) for part in (train, block)]
        groups = None if drawn_by is None else entity_groups(drawn_by[block])
        folds.append(Fold(matrices[0], label[train], matrices[1], label[block], groups))
    return folds


def declared_positions(window: Window, scorer: ScorerDeclaration) -> list[tuple[Positions, Positions]]:
    """The positions of the training and of the validation rows of the declared folds."""
    seconds, label = window.column(scorer.time), window.column(scorer.label)
    return prequential_positions(seconds, label, scorer.folds, scorer.split.label_delay_seconds, scorer.time)


def training_folds(window: Window, scorer: ScorerDeclaration, catalogue: pd.DataFrame) -> list[Fold]:
    """The declared folds of a training window.

    Only the training rows are sampled: validation costs little, and its frauds are few.
    """
    positions = declared_positions(window, scorer)
    is_drawn = np.random.default_rng(scorer.seed).random(len(window)) < scorer.folds.sample
    sampled = [(train[is_drawn[train]], block) for train, block in positions]
    check_folds(sampled, window.column(scorer.time), window.column(scorer.label), scorer.time)
    return encode_folds(window, sampled, scorer, catalogue)


def out_of_time_margins(
    positions: Iterable[tuple[Positions, Positions]], margins_of: Callable[[Positions, Positions], Matrix]
) -> tuple[Positions, Matrix]:
    """The positions of all folds' validation rows, ascending, and each one's margin by a model of earlier rows only.

    `margins_of` fits a model on the rows at the first positions, and returns its margins for the rows at the second.
    """
    blocks, margins = zip(*((block, margins_of(train, block)) for train, block in positions), strict=True)
    return np.concatenate(blocks), np.concatenate(margins)


def resampled_fold(fold: Fold, scorer: ScorerDeclaration, resampling: Resampling) -> Fold:
    """A fold with its training rows resampled; the validation rows stay as they are."""
    rows, label = Resampler(resampling, feature_types(scorer.contract), scorer.seed).fit_resample(
        fold.train, fold.train_label
    )
    return replace(fold, train=rows, train_label=label)


def later_half(fold: Fold) -> slice:
    """The later half of a fold's validation block."""
    return slice(len(fold.validate_label) // 2, None)


def resample_folds(folds: Sequence[Fold], scorer: ScorerDeclaration) -> list[Fold]:
    """The folds, each resampled as the scorer's resampling says."""
    return [resampled_fold(fold, scorer, scorer.resampling) for fold in folds]
