"""Baseline: what is normal -> the distributions that monitoring compares with, and what the function warns of.

Features as the training rows had them; scores as the calibration rows had them, which no model has learned from.
"""

import json
from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt

from handler.scoring.bundle import to_json
from handler.scoring.features import Features, build_features
from training.calibrate import calibrated
from training.data.window import Window
from training.declaration import declared_scorer
from training.model.combinations import just_above, learn_combinations
from training.monitoring.binning import log_odds
from training.run.command import run
from training.run.files import BUILD, write_bytes
from training.run.matrix import Chunked, Matrix
from training.run.processes import workers_of
from training.run.progress import say
from training.train import margins_of

# Twenty equal shares of the training rows: fine enough for a shift by a tenth of the spread, coarse enough for a day.
QUANTILES = np.linspace(0, 1, 21)[1:-1]
# One request in a thousand on each side is rare.
RARE = (0.001, 0.999)
# Log-odds between which scores are binned: below and above is one bin each.
SCORE_EDGES = np.linspace(-9, 5, 57)
DIGITS = 7


def binned(column: npt.NDArray[np.float32], labels: Sequence[str] | None) -> dict[str, Any]:
    """A feature's bins and how many rows of the column each holds, the first one those where it is missing.

    A number's bins end at its `edges`, and the last one has no end; a category has a bin for each of its `labels`.
    """
    known = column[~np.isnan(column)]
    n_missing = len(column) - len(known)
    if labels is not None:
        counts = np.bincount(known.astype(int), minlength=len(labels))
        return {"labels": list(labels), "counts": [n_missing, *counts.tolist()]}
    edges = just_above(np.unique(np.quantile(known, QUANTILES, method="lower"))) if len(known) else []
    counts = np.bincount(np.searchsorted(np.array(edges), known, side="left"), minlength=len(edges) + 1)
    rare: list[float] = []
    if len(known):
        low, high = np.quantile(known, RARE, method="lower").astype(np.float32)
        rare = [*(-one for one in just_above(np.array([-low]))), *just_above(np.array([high]))]
    return {"edges": edges, "rare": rare, "counts": [n_missing, *counts.tolist()]}


def score_baseline(
    probability: npt.NDArray[np.float64], label: npt.NDArray[np.int8], threshold: float
) -> dict[str, Any]:
    """Scores of untouched, labelled rows: their distribution, and what the threshold did on them."""
    flagged = probability >= threshold
    counts = np.bincount(np.searchsorted(SCORE_EDGES, log_odds(probability)), minlength=len(SCORE_EDGES) + 1)
    return {
        "edges": SCORE_EDGES.tolist(),
        "counts": counts.tolist(),
        "rows": len(label),
        "frauds": int(label.sum()),
        "flagged": int(flagged.sum()),
        "caught": int(label[flagged].sum()),
    }


def feature_baseline(matrix: Matrix | Chunked, features: Features) -> dict[str, dict[str, Any]]:
    """The bins of each feature's column, by its name."""
    columns = zip(features.names, features.labels, strict=True)
    return {name: binned(matrix[:, index], labels) for index, (name, labels) in enumerate(columns)}


def main(name: str) -> None:
    """Describe what is normal for one scorer: `python -m training.baseline refund`."""
    scorer = declared_scorer(name)
    folder = BUILD / name
    fitted = json.loads((folder / "calibration.json").read_text())
    pipeline = joblib.load(folder / "pipeline.joblib")
    encoder = pipeline[0]
    features = build_features(scorer.contract, encoder.vocabulary_)
    train, later = (Window(folder / "rows" / f"{window}.parquet") for window in ("train", "calibrate"))
    with workers_of(scorer.compute) as workers:
        matrix = encoder.encoded(train, workers)
        described = feature_baseline(matrix, features)
        combinations = learn_combinations(matrix, features.labels)
        probability = calibrated(margins_of(pipeline, encoder.encoded(later, workers)), fitted["calibration"])
    threshold = fitted["decision"]["threshold"]
    baseline = {
        "features": described,
        "score": score_baseline(probability, later.column(scorer.label), threshold),
        "combinations": combinations,
    }
    write_bytes(folder / "baseline.json", to_json(baseline))
    say(json.dumps({key: value for key, value in baseline["score"].items() if key not in {"edges", "counts"}}))


if __name__ == "__main__":
    run(main)
