"""Prequential folds (Dawid 1984): each validation block is scored by a model fitted on earlier rows only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from handler.scoring.features import feature_types
from training.data.split import check_folds, prequential_positions
from training.data.window import Window
from training.declaration import ScorerDeclaration
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


def encode_folds(
    window: Window, positions: Sequence[tuple[Positions, Positions]], scorer: ScorerDeclaration, catalogue: pd.DataFrame
) -> list[Fold]:
    """The folds as features; each vocabulary is learned from its fold's training rows."""
    label, workers = window.column(scorer.label), Workers(scorer.compute)
    folds = []
    for train, block in progress(positions, "encoding folds", total=len(positions)):
        encoder = FeatureEncoder(scorer.contract, catalogue).fit_window(window, workers, train)
        parts: list[Any] = []
        for part in (train, block):
            # A copy, because an unlinked file cannot be passed to other processes.
            parts += [np.array(encoder.encoded(window, workers, part)[:]), label[part]]
        folds.append(Fold(*parts))
    return folds


def training_folds(window: Window, scorer: ScorerDeclaration, catalogue: pd.DataFrame) -> list[Fold]:
    """The declared folds of a training window.

    Only the training rows are sampled: validation costs little, and its frauds are few.
    """
    seconds, label = window.column(scorer.time), window.column(scorer.label)
    positions = prequential_positions(seconds, label, scorer.folds, scorer.split.label_delay_seconds)
    is_drawn = np.random.default_rng(scorer.seed).random(len(window)) < scorer.folds.sample
    sampled = [(train[is_drawn[train]], block) for train, block in positions]
    check_folds([(label[train], label[block]) for train, block in sampled])
    return encode_folds(window, sampled, scorer, catalogue)


def resample_folds(folds: Sequence[Fold], scorer: ScorerDeclaration, declared: Resampling) -> list[Fold]:
    """The folds with their training rows resampled; the validation rows stay as they are."""
    types = feature_types(scorer.contract)
    resampled = []
    for fold in folds:
        rows, label = Resampler(declared, types, scorer.seed).fit_resample(fold.train, fold.train_label)
        resampled.append(replace(fold, train=rows, train_label=label))
    return resampled
