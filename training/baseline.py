"""Write the reference distributions that monitoring compares with and that the function's warnings are based on.

Those of the features are of the training rows; those of the scores are of the calibration rows, which no model was
fitted on.
"""

import json

import joblib

from handler.scoring.bundle import to_json
from handler.scoring.features import build_features
from training.data.window import Window
from training.declaration import declared_scorer
from training.evaluation.calibration import calibrated
from training.model.combinations import learn_combinations
from training.model.distributions import feature_baseline, score_baseline
from training.model.fit import matrix_margins
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, write_bytes
from training.run.progress import say


def main(name: str) -> None:
    """Write the reference distributions of one scorer: `python -m training.baseline refund`."""
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
        probability = calibrated(matrix_margins(pipeline, encoder.encoded(later, workers)), fitted["calibration"])
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
