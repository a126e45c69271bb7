"""Fitting of the XGBoost model, and the pipeline of encoder, resampler and model."""

from functools import partial

import numpy as np
import pandas as pd
import xgboost
from imblearn.pipeline import Pipeline
from xgboost import XGBClassifier

from handler.scoring.contract import Contract
from handler.scoring.features import feature_types
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.model.encoder import FeatureEncoder
from training.model.resampling import Resampler, fraud_weight
from training.monotone import monotone_signs
from training.params import Model
from training.run.matrix import FeatureMatrix, Labels, Matrix
from training.run.processes import Workers
from training.run.xgboost_fit import TrainingSet


def build_model(
    model: Model, contract: Contract, *, seed: int, fraud_weight: float = 1.0, device: str = "cpu"
) -> XGBClassifier:
    """The unfitted XGBoost model with these parameters, bound to the contract's monotone directions.

    Raises StageError if the installed XGBoost does not support the device, because it would silently use the CPU.
    """
    if device != "cpu" and not xgboost.build_info()["USE_CUDA"]:
        raise StageError(
            f"compute.device is {device}, which this XGBoost cannot use; install the package xgboost instead of "
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


def resampled_training_set(
    scorer: ScorerDeclaration, matrix: Matrix | FeatureMatrix, label: Labels, workers: Workers
) -> tuple[Resampler, TrainingSet]:
    """The resampler, and the training set that it makes from encoded rows and their labels."""
    resampler = Resampler(scorer.resampling, feature_types(scorer.contract), scorer.seed)
    kept, synthetic = resampler.resample(matrix, label, workers)
    rows = FeatureMatrix(matrix, workers.compute.chunk_rows) if isinstance(matrix, np.ndarray) else matrix
    if kept is not None:
        rows, label = rows.at(kept), label[kept]
    return resampler, TrainingSet(rows, label, synthetic)


def fit_training_set(
    scorer: ScorerDeclaration, parameters: Model, training_set: TrainingSet, weight: float, workers: Workers
) -> XGBClassifier:
    """The model fitted on a training set in which each fraud has the weight `weight`."""
    device = scorer.compute.device
    model = build_model(parameters, scorer.contract, seed=scorer.seed, fraud_weight=weight, device=device)
    native_parameters = {key: value for key, value in model.get_xgb_params().items() if value is not None}
    booster = workers.fit(native_parameters | {"feature_types": model.feature_types}, parameters.rounds, training_set)
    model.load_model(bytearray(booster.save_raw("ubj")))
    return model


def fit_model(
    scorer: ScorerDeclaration, parameters: Model, matrix: Matrix | FeatureMatrix, label: Labels, workers: Workers
) -> tuple[Resampler, XGBClassifier]:
    """The resampler, and the model fitted on encoded rows and their labels after resampling."""
    resampler, training_set = resampled_training_set(scorer, matrix, label, workers)
    return resampler, fit_training_set(
        scorer, parameters, training_set, fraud_weight(scorer.resampling, label), workers
    )


def pipeline_of(encoder: FeatureEncoder, resampler: Resampler, model: XGBClassifier) -> Pipeline:
    """The fitted steps as one pipeline from rows to margins."""
    return Pipeline([("encode", encoder), ("resample", resampler), ("model", model)])


def fit_pipeline(scorer: ScorerDeclaration, parameters: Model, catalogue: pd.DataFrame, rows: pd.DataFrame) -> Pipeline:
    """The pipeline fitted on rows that are in memory."""
    encoder = FeatureEncoder(scorer.contract, catalogue).fit(rows)
    label, workers = rows[scorer.label].to_numpy(), Workers(scorer.compute)
    return pipeline_of(encoder, *fit_model(scorer, parameters, encoder.transform(rows), label, workers))


def margins(pipeline: Pipeline, rows: pd.DataFrame) -> Matrix:
    """The fitted pipeline's raw margins for rows, (n_rows,), by XGBoost's Python package."""
    margin: Matrix = pipeline.predict(rows, output_margin=True)
    return margin


def matrix_margins(pipeline: Pipeline, matrix: FeatureMatrix) -> Matrix:
    """The fitted pipeline's raw margins for encoded rows, (n_rows,)."""
    return np.concatenate(matrix.by_chunk(partial(_margins, pipeline[-1])))


def _margins(model: XGBClassifier, rows: Matrix) -> Matrix:
    margin: Matrix = model.predict(rows, output_margin=True)
    return margin
