"""Fits a model on a window, and writes it with everything that belongs to it."""

from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from handler.scoring.bundle import to_json
from training.data.window import Window
from training.declaration import ScorerDeclaration
from training.model.categoriser import held_out_report
from training.model.distributions import describe
from training.model.encoder import FeatureEncoder
from training.model.fit import fit_model, pipeline_of
from training.params import Model
from training.run.files import write_bytes, write_whole
from training.run.matrix import FeatureMatrix
from training.run.processes import Workers


def write_model(
    scorer: ScorerDeclaration, parameters: Model, data: tuple[Window, pd.DataFrame], folder: Path, workers: Workers
) -> tuple[FeatureEncoder, FeatureMatrix, dict[str, Any]]:
    """Fit on a window with its catalogue, and write pipeline, booster, vocabulary and reference to a folder.

    Returns the encoder, the encoded window, and a report.
    """
    window, catalogue = data
    labels = window.column(scorer.label)
    encoder = FeatureEncoder(scorer.contract, catalogue).fit_window(window, workers)
    matrix = encoder.encoded(window, workers)
    resampler, model = fit_model(scorer, parameters, matrix, labels, workers)
    pipeline, reference = pipeline_of(encoder, resampler, model), describe(matrix, scorer.contract, encoder.vocabulary_)
    write_whole(folder / "pipeline.joblib", lambda target: joblib.dump(pipeline, target))
    write_bytes(folder / "model.ubj", bytes(model.get_booster().save_raw("ubj")))
    write_bytes(folder / "vocabulary.json", to_json(encoder.vocabulary_))
    write_bytes(folder / "reference.json", to_json(reference))
    report = {
        "rows": len(window),
        "frauds": int(labels.sum()),
        "rows_learned_from": resampler.n_rows_,
        "model": parameters.model_dump(),
        "resampling": scorer.resampling.model_dump(),
        "features": matrix.shape[1],
        "texts": {text: _held_out(catalogue, text) for text in scorer.texts},
    }
    return encoder, matrix, report


def _held_out(catalogue: pd.DataFrame, text: str) -> dict[str, float]:
    names = catalogue[catalogue["field"] == text]
    return held_out_report(names["name"].tolist(), names["category"].tolist())
