"""Write the reference distributions that monitoring compares with and that the function's warnings are based on.

Those of the features are of the training rows; that of the scores is of the rows that calibrated, as models scored
them that were not fitted on them.
"""

import json

import joblib

from handler.scoring.bundle import to_json
from handler.scoring.features import build_features
from training.data.window import Window
from training.declaration import declared_scorer
from training.model.combinations import learn_combinations
from training.model.distributions import feature_baseline
from training.model.encoder import FeatureEncoder
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
    encoder: FeatureEncoder = pipeline[0]
    features = build_features(scorer.contract, encoder.vocabulary_)
    with workers_of(scorer.compute) as workers:
        matrix = encoder.encoded(Window(folder / "rows" / "train.parquet"), workers)
        described = feature_baseline(matrix, features)
        combinations = learn_combinations(matrix, features.labels)
    baseline = {"features": described, "score": fitted["score"], "combinations": combinations}
    write_bytes(folder / "baseline.json", to_json(baseline))
    say(json.dumps({key: value for key, value in baseline["score"].items() if key not in {"edges", "counts"}}))


if __name__ == "__main__":
    run(main)
