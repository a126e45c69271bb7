"""A model as `make retrain` would have trained it on a past date, and the state the monitor would have given it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from imblearn.pipeline import Pipeline

from handler.scoring.features import Features, build_features
from training.data.split import prequential_positions, split_by_time
from training.data.times import timestamp_text
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.evaluation.calibration import calibrated, fit_platt
from training.evaluation.cost import declared_money
from training.evaluation.threshold import PolicyError, decided
from training.model.bins import label_bins, number_bins
from training.model.distributions import feature_distributions, score_distribution
from training.model.encoder import FeatureEncoder
from training.model.fit import fit_model, fit_pipeline, margins, pipeline_of
from training.model.folds import out_of_time_margins
from training.monitoring.blocks import Reference, blocks_of
from training.monitoring.log import Log
from training.monitoring.verdict import judge_block, state_after
from training.params import Decision, Model
from training.report.monitor_report import INSUFFICIENT
from training.run.matrix import Floats, Labels, Matrix, Positions
from training.run.processes import Workers


@dataclass(frozen=True)
class ScoredRows:
    """A week's rows as a model scored them: in order of time, with their labels and the baseline's bins."""

    time: Floats
    label: Labels
    probability: Floats
    flagged: npt.NDArray[np.bool_]
    blocked: npt.NDArray[np.bool_]
    """All False if the decision has no bands."""
    bins: npt.NDArray[np.uint16]


@dataclass(frozen=True)
class DatedModel:
    """A model as `make retrain` would have trained it on a date, from the rows whose labels were known."""

    at: float
    learned_until: float
    pipeline: Pipeline
    calibration: dict[str, float]
    decision: dict[str, Any]
    """As `training.evaluation.threshold.decided` gives it."""
    baseline: dict[str, Any]
    window: pd.DataFrame
    """The latest rows whose labels were known then; the gate judges by them."""
    unseen: Pipeline
    """The pipeline that has not learned from the window: the same one, or with `split.refit` a separate one."""

    @property
    def threshold(self) -> float:
        """The lowest probability at which a request is flagged."""
        return float(self.decision["threshold"])

    @property
    def features(self) -> Features:
        """How rows become this model's features."""
        encoder = self.pipeline[0]
        return build_features(encoder.contract, encoder.vocabulary_)

    @property
    def judged(self) -> "DatedModel":
        """The model that the gate judges, which has not seen the window."""
        return replace(self, pipeline=self.unseen)

    def scored(self, rows: pd.DataFrame, scorer: ScorerDeclaration) -> ScoredRows:
        """The rows, scored."""
        encoder, model = self.pipeline[0], self.pipeline[-1]
        matrix = encoder.transform(rows)
        probability = calibrated(model.predict(matrix, output_margin=True), self.calibration)
        bins = [
            label_bins(column) if labels else number_bins(column, self.baseline["features"][name]["edges"])
            for column, name, labels in zip(matrix.T, self.features.names, self.features.labels, strict=True)
        ]
        return ScoredRows(
            rows[scorer.time].to_numpy(np.float64),
            rows[scorer.label].to_numpy(np.int8),
            probability,
            probability >= self.threshold,
            probability >= self.decision.get("block", {"threshold": np.inf})["threshold"],
            np.stack(bins, axis=1).astype(np.uint16),
        )


def dated_declaration(scorer: ScorerDeclaration, test_days: float) -> ScorerDeclaration:
    """The scorer as a replay declares it: with a test window of this length, without a calibration window."""
    days = {"test": None, "test_days": test_days, "calibrate": None, "calibrate_days": None}
    return scorer.model_copy(update={"split": scorer.split.model_copy(update=days)})


def model_at(
    at: float, rows: pd.DataFrame, scorer: ScorerDeclaration, parameters: Model, catalogue: pd.DataFrame
) -> DatedModel:
    """The model of a date, in seconds; raises a StageError if none can be trained on the rows known by then."""
    labelled = rows[rows[scorer.time] < at - scorer.split.label_delay_seconds]
    if labelled.empty:
        raise DataError(f"no label was known on {timestamp_text(at)}; begin later")
    windows = split_by_time(labelled, scorer)
    learned = windows["train"]
    unseen, matrix = _fitted(learned, scorer, parameters, catalogue)
    if scorer.split.has_calibration_window:
        later = windows["calibrate"]
        margin = margins(unseen, later)
    else:
        later, margin = _out_of_time(learned, scorer, parameters, catalogue)
    pipeline = unseen
    if scorer.split.refit:
        learned = pd.concat(windows.values(), ignore_index=True)
        pipeline, matrix = _fitted(learned, scorer, parameters, catalogue)
    later_labels = later[scorer.label].to_numpy()
    slope, intercept = fit_platt(margin, later_labels)
    calibration = {"slope": slope, "intercept": intercept}
    probability = calibrated(margin, calibration)
    money = declared_money(scorer, lambda column: later[column].to_numpy())
    try:
        decision = decided(probability, later_labels, scorer.decision, money)
    except PolicyError:
        # These rows may not allow the policy of the blocking band; without the band the model can still be compared.
        flagging = Decision.model_validate(scorer.decision.flagging.given)
        decision = decided(probability, later_labels, flagging, money)
    features = build_features(scorer.contract, pipeline[0].vocabulary_)
    baseline = {
        "features": feature_distributions(matrix, features),
        "score": score_distribution(probability, later_labels, decision["threshold"]),
    }
    until = float(learned[scorer.time].max())
    return DatedModel(at, until, pipeline, calibration, decision, baseline, windows["test"], unseen)


def _fitted(
    rows: pd.DataFrame, scorer: ScorerDeclaration, parameters: Model, catalogue: pd.DataFrame
) -> tuple[Pipeline, Matrix]:
    """The pipeline fitted on rows, and the feature matrix of these rows."""
    encoder = FeatureEncoder(scorer.contract, catalogue).fit(rows)
    matrix, labels = encoder.transform(rows), rows[scorer.label].to_numpy()
    return pipeline_of(encoder, *fit_model(scorer, parameters, matrix, labels, Workers(scorer.compute))), matrix


def _out_of_time(
    train: pd.DataFrame, scorer: ScorerDeclaration, parameters: Model, catalogue: pd.DataFrame
) -> tuple[pd.DataFrame, Matrix]:
    """The rows of the validation blocks, and their margins from models trained on earlier rows."""
    seconds, labels = train[scorer.time].to_numpy(), train[scorer.label].to_numpy()
    blocks = prequential_positions(seconds, labels, scorer.folds, scorer.split.label_delay_seconds, scorer.time)

    def margins_of(earlier: Positions, block: Positions) -> Matrix:
        pipeline = fit_pipeline(scorer, parameters, catalogue, train.iloc[earlier])
        return margins(pipeline, train.iloc[block])

    positions, margin = out_of_time_margins(blocks, margins_of)
    return train.iloc[positions], margin


def state_of(weeks: Sequence[ScoredRows], model: DatedModel, scorer: ScorerDeclaration, now: float) -> str:
    """The state that the monitor would have given, at the time `now`, to a dated model that had served these weeks."""
    if not weeks:
        return INSUFFICIENT
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(week, name) for week in weeks]) for name in ("time", "probability", "flagged")
    }
    label = np.concatenate([week.label for week in weeks])
    n = len(label)
    log = Log(
        **joined,
        bins=np.concatenate([week.bins for week in weeks]),
        blocked=np.full(n, -1, dtype=np.int8),
        label_weight=np.ones(n),
        n_warnings=np.zeros(n, dtype=np.uint8),
        milliseconds=np.zeros(n),
        weight=np.ones(n),
        id=np.zeros(n, dtype=np.uint64),
        version=np.zeros(n, dtype=np.intp),
        versions=[timestamp_text(model.at)],
        outcome_time=np.zeros(0),
        outcome_id=np.zeros(0, dtype=np.uint64),
        outcome_label=np.zeros(0, dtype=np.int8),
        outcome_source=np.zeros(0, dtype=np.uint8),
        outcome_by=np.zeros(0, dtype=np.uint64),
        counts={},
    )
    labels = np.where(log.time < now - scorer.split.label_delay_seconds, label, -1).astype(np.int8)
    blocks = blocks_of(log, labels, Reference(model.baseline, model.threshold), scorer.monitoring)
    return state_after([judge_block(block, scorer.monitoring) for block in blocks], scorer.monitoring)
