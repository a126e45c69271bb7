"""Train: training rows -> features, SMOTE, XGBoost; the model, its vocabulary and its reference distributions."""

import json
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from functools import partial
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost
from imblearn.pipeline import Pipeline
from xgboost import XGBClassifier

from handler.scoring.bundle import to_json
from handler.scoring.contract import Contract
from handler.scoring.features import build_features, feature_types
from training.declaration import Scorer, declared_scorer
from training.model.categoriser import held_out_report
from training.model.encoder import FeatureEncoder
from training.model.folds import read_training
from training.model.resampling import Resampler, fraud_weight
from training.monotone import monotone_signs
from training.params import Model
from training.run.command import StageError, run
from training.run.files import BUILD, REPORTS, write_bytes, write_json, write_whole
from training.run.matrix import Chunked, Labels, Matrix
from training.run.processes import Workers, workers_of
from training.run.progress import say
from training.run.xgboost_fit import Lesson

PERCENTILES = np.arange(101)
# float32 holds seven significant digits; the reference needs no more.
SIGNIFICANT = 7


def build_model(
    model: Model, contract: Contract, *, seed: int, fraud_weight: float = 1.0, device: str = "cpu"
) -> XGBClassifier:
    """The unfitted XGBoost model with these parameters, bound to the contract's monotone directions.

    Raises StageError where the installed XGBoost does not know the device: it would take the processor without a word.
    """
    if device != "cpu" and not xgboost.build_info()["USE_CUDA"]:
        raise StageError(
            f"compute.device is {device}, which this XGBoost cannot use; install the package xgboost in the place of "
            "xgboost-cpu, or declare device: cpu"
        )
    return XGBClassifier(
        n_estimators=model.rounds,
        max_depth=model.max_depth,
        learning_rate=model.learning_rate,
        min_child_weight=model.min_child_weight,
        subsample=model.subsample,
        colsample_bytree=model.colsample_bytree,
        reg_lambda=model.reg_lambda,
        max_bin=model.max_bin if model.tree_method == "hist" else None,
        n_jobs=model.threads,
        random_state=seed,
        tree_method=model.tree_method,
        device=device,
        scale_pos_weight=fraud_weight,
        # XGBoost's default is the label mean, which costs rare positives dearly (average precision .79 -> .74 on
        # the ULB card data).
        base_score=0.5,
        feature_types=feature_types(contract),
        enable_categorical=True,
        monotone_constraints=tuple(monotone_signs(contract)),
    )


def lesson_of(scorer: Scorer, matrix: Matrix | Chunked, label: Labels, workers: Workers) -> tuple[Resampler, Lesson]:
    """The resampler, and what it made of encoded rows and their labels."""
    resampler = Resampler(scorer.resampling, feature_types(scorer.contract), scorer.seed)
    kept, synthetic = resampler.resample(matrix, label, workers)
    rows = Chunked(matrix, workers.compute.chunk_rows) if isinstance(matrix, np.ndarray) else matrix
    if kept is not None:
        rows, label = rows.at(kept), label[kept]
    return resampler, Lesson(rows, label, synthetic)


def fit_lesson(scorer: Scorer, parameters: Model, lesson: Lesson, weight: float, workers: Workers) -> XGBClassifier:
    """The model of a lesson, in which each fraud counts `weight`."""
    device = scorer.compute.device
    model = build_model(parameters, scorer.contract, seed=scorer.seed, fraud_weight=weight, device=device)
    given = {key: value for key, value in model.get_xgb_params().items() if value is not None}
    booster = workers.fit(given | {"feature_types": model.feature_types}, parameters.rounds, lesson)
    model.load_model(bytearray(booster.save_raw("ubj")))
    return model


def fit_model(
    scorer: Scorer, parameters: Model, matrix: Matrix | Chunked, label: Labels, workers: Workers
) -> tuple[Resampler, XGBClassifier]:
    """The resampler, and the model that learned from what it made of encoded rows and their labels."""
    resampler, lesson = lesson_of(scorer, matrix, label, workers)
    return resampler, fit_lesson(scorer, parameters, lesson, fraud_weight(scorer.resampling, label), workers)


def pipeline_of(encoder: FeatureEncoder, resampler: Resampler, model: XGBClassifier) -> Pipeline:
    """The fitted steps as one pipeline from rows to margins."""
    return Pipeline([("encode", encoder), ("resample", resampler), ("model", model)])


def fit_pipeline(scorer: Scorer, parameters: Model, catalogue: pd.DataFrame, rows: pd.DataFrame) -> Pipeline:
    """The pipeline of rows that are in memory."""
    encoder = FeatureEncoder(scorer.contract, catalogue).fit(rows)
    label = rows[scorer.label].to_numpy()
    steps = fit_model(scorer, parameters, encoder.transform(rows), label, Workers(scorer.compute))
    return pipeline_of(encoder, *steps)


def margins(pipeline: Pipeline, rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    """The fitted pipeline's raw margins for rows, (n_rows,), by XGBoost's Python package."""
    found: npt.NDArray[np.float32] = pipeline.predict(rows, output_margin=True)
    return found


def margins_of(pipeline: Pipeline, matrix: Chunked) -> npt.NDArray[np.float32]:
    """The fitted pipeline's raw margins for encoded rows, (n_rows,)."""
    return np.concatenate(matrix.by_chunk(partial(_margins, pipeline[-1])))


def _margins(model: XGBClassifier, rows: Matrix) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = model.predict(rows, output_margin=True)
    return found


def describe(matrix: Matrix | Chunked, contract: Contract, vocabulary: dict[str, Any]) -> dict[str, Any]:
    """Per feature what training saw: share missing, and percentiles of a number or shares of a category's labels."""
    features = build_features(contract, vocabulary)
    reference: dict[str, Any] = {}
    for index, (name, labels) in enumerate(zip(features.names, features.labels, strict=True)):
        column = matrix[:, index]
        known = column[~np.isnan(column)]
        seen: dict[str, Any] = {"missing": round(1 - len(known) / len(column), SIGNIFICANT)}
        if labels is not None:
            counts = np.bincount(known.astype(int), minlength=len(labels)) / len(column)
            seen["shares"] = {
                label: round(float(share), SIGNIFICANT) for label, share in zip(labels, counts, strict=True)
            }
        elif len(known):
            percentiles = [Decimal(value) for value in np.percentile(known, PERCENTILES, method="lower").tolist()]
            # The ends outwards, so that no training row lies outside them.
            rounding = [ROUND_FLOOR, *[ROUND_HALF_EVEN] * (len(percentiles) - 2), ROUND_CEILING]
            seen["percentiles"] = [
                float(Context(prec=SIGNIFICANT, rounding=way).plus(value))
                for way, value in zip(rounding, percentiles, strict=True)
            ]
        else:
            seen["percentiles"] = []
        reference[name] = seen
    return reference


def main(name: str) -> None:
    """Train one scorer's model: `python -m training.train refund`."""
    scorer = declared_scorer(name)
    folder = BUILD / name
    window, catalogue = read_training(name)
    labels = window.column(scorer.label)
    tuned = Model.model_validate_json((folder / "tuned.json").read_bytes())
    with workers_of(scorer.compute) as workers:
        encoder = FeatureEncoder(scorer.contract, catalogue).fit_window(window, workers)
        matrix = encoder.encoded(window, workers)
        resampler, model = fit_model(scorer, tuned, matrix, labels, workers)
        reference = to_json(describe(matrix, scorer.contract, encoder.vocabulary_))
    pipeline = pipeline_of(encoder, resampler, model)
    report = {
        "rows": len(window),
        "frauds": int(labels.sum()),
        "rows_learned_from": resampler.n_rows_,
        "model": tuned.model_dump(),
        "features": matrix.shape[1],
        "texts": {text: _held_out(catalogue, text) for text in scorer.texts},
    }
    vocabulary = to_json(encoder.vocabulary_)
    write_whole(folder / "pipeline.joblib", lambda target: joblib.dump(pipeline, target))
    write_bytes(folder / "model.ubj", bytes(model.get_booster().save_raw("ubj")))
    write_bytes(folder / "vocabulary.json", vocabulary)
    write_bytes(folder / "reference.json", reference)
    write_json(REPORTS / name / "training.json", report)
    say(json.dumps(report, indent=1))


def _held_out(catalogue: pd.DataFrame, text: str) -> dict[str, float]:
    names = catalogue[catalogue["field"] == text]
    return held_out_report(names["name"].tolist(), names["category"].tolist())


if __name__ == "__main__":
    run(main)
