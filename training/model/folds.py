"""Prequential folds (Dawid 1984): each validation block is scored by a model that saw only what came before it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from handler.scoring.features import feature_types
from training.data.window import Positions, Window
from training.declaration import Scorer
from training.model.encoder import FeatureEncoder
from training.model.resampling import Resampler
from training.params import Folds, Resampling
from training.run.command import StageError
from training.run.files import BUILD
from training.run.matrix import Labels, Matrix
from training.run.processes import Workers
from training.run.progress import progress


class FoldError(StageError):
    """Raised when the rows cannot be cut into folds that all hold both classes."""


@dataclass(frozen=True)
class Fold:
    """One fold, encoded: (n_rows, n_features) float32 and labels, to learn from and to validate on."""

    train: Matrix
    train_label: Labels
    validate: Matrix
    validate_label: Labels


def prequential_positions(
    seconds: npt.NDArray[np.float64], label: Labels, declared: Folds, delay_seconds: float
) -> list[tuple[Positions, Positions]]:
    """Per fold the positions of its training and of its validation rows; rows of one moment never part.

    The validation blocks hold equally many rows and follow each other; each model learns from all rows before its
    block, but for the label delay. `seconds` must not decrease. Raises FoldError where a part lacks a class.
    """
    if (n_frauds := int(label.sum())) <= declared.count:
        raise FoldError(
            f"{n_frauds} frauds in the training window are too few for folds.count {declared.count}; "
            "lower folds.count, or bring more rows"
        )
    first = round(len(seconds) * (1 - declared.validate_share))
    cuts = np.linspace(first, len(seconds), declared.count + 1).round().astype(int)
    starts = [seconds[cut] for cut in cuts[:-1]] + [np.inf]
    folds = []
    for start, end in pairwise(starts):
        known = np.flatnonzero(seconds < start - delay_seconds)
        block = np.flatnonzero((seconds >= start) & (seconds < end))
        folds.append((known, block))
    check_folds([(label[known], label[block]) for known, block in folds])
    return folds


def check_folds(labels: Sequence[tuple[Labels, Labels]]) -> None:
    """Raise FoldError where the training or validation rows of a fold lack a class."""
    for number, parts in enumerate(labels, start=1):
        for what, part in zip(("training", "validation"), parts, strict=True):
            if not 0 < part.sum() < len(part):
                raise FoldError(
                    f"fold {number} of {len(labels)} has {part.sum()} frauds in {len(part):,} {what} rows; it needs "
                    "both classes: lower folds.count, change folds.validate_share or raise folds.sample"
                )


def encode_folds(
    window: Window, positions: Sequence[tuple[Positions, Positions]], scorer: Scorer, catalogue: pd.DataFrame
) -> list[Fold]:
    """The folds as features; each vocabulary is learned from its fold's training rows."""
    label, workers = window.column(scorer.label), Workers(scorer.compute)
    folds = []
    for known, block in progress(positions, "encoding folds", total=len(positions)):
        encoder = FeatureEncoder(scorer.contract, catalogue).fit_window(window, workers, known)
        parts: list[Any] = []
        for part in (known, block):
            # A copy: other processes cannot be handed what lies in a file without a name.
            parts += [np.array(encoder.encoded(window, workers, part)[:]), label[part]]
        folds.append(Fold(*parts))
    return folds


def training_folds(window: Window, scorer: Scorer, catalogue: pd.DataFrame) -> list[Fold]:
    """The declared folds of a training window.

    Only the rows that are learned from are sampled: what is validated on costs little, and its frauds are few.
    """
    seconds, label = window.column(scorer.time), window.column(scorer.label)
    positions = prequential_positions(seconds, label, scorer.folds, scorer.split.label_delay_seconds)
    is_drawn = np.random.default_rng(scorer.seed).random(len(window)) < scorer.folds.sample
    sampled = [(known[is_drawn[known]], block) for known, block in positions]
    check_folds([(label[known], label[block]) for known, block in sampled])
    return encode_folds(window, sampled, scorer, catalogue)


def resample_folds(folds: Sequence[Fold], scorer: Scorer, declared: Resampling) -> list[Fold]:
    """The folds with their training rows resampled; the validation rows stay as life has them."""
    types = feature_types(scorer.contract)
    resampled = []
    for fold in folds:
        rows, label = Resampler(declared, types, scorer.seed).fit_resample(fold.train, fold.train_label)
        resampled.append(replace(fold, train=rows, train_label=label))
    return resampled


def read_training(name: str) -> tuple[Window, pd.DataFrame]:
    """A scorer's training window and the catalogue of its texts, as prepare wrote them."""
    folder = BUILD / name / "rows"
    return Window(folder / "train.parquet"), pd.read_csv(folder / "catalogue.csv", dtype=str, keep_default_na=False)
