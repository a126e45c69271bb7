"""Write the reference distributions that monitoring compares with and that the function's warnings are based on.

The features' distributions come from the training rows. The scores' distribution comes from the calibration rows, each
scored by a model that was not fitted on it.
"""

import json

import joblib

from handler.scoring.bundle import to_json
from training.data.window import read_training
from training.declaration import declared_scorer
from training.model.distributions import baseline_of
from training.model.encoder import FeatureEncoder
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, write_bytes
from training.run.progress import say


def main(name: str) -> None:
    """Write the reference distributions of one scorer: `python -m training.baseline refund`."""
    folder = BUILD / name
    score = json.loads((folder / "calibration.json").read_text())["score"]
    encoder: FeatureEncoder = joblib.load(folder / "pipeline.joblib")[0]
    scorer = declared_scorer(name)
    window, _ = read_training(scorer, name)
    with workers_of(scorer.compute) as workers:
        baseline = baseline_of(encoder, encoder.encoded(window, workers), score)
    write_bytes(folder / "baseline.json", to_json(baseline))
    say(json.dumps({key: value for key, value in score.items() if key not in {"edges", "counts"}}))


if __name__ == "__main__":
    run(main)
