"""Fit Platt's two numbers and the policy's threshold on margins of later rows that the model was not fitted on."""

import json

import joblib

from training.data.window import Window
from training.declaration import declared_scorer
from training.evaluation.calibration import calibrated, fit_platt
from training.evaluation.threshold import operating_points, threshold_for
from training.model.fit import matrix_margins
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, write_text
from training.run.progress import say


def main(name: str) -> None:
    """Calibrate one scorer: `python -m training.calibrate refund`."""
    scorer = declared_scorer(name)
    folder = BUILD / name
    pipeline = joblib.load(folder / "pipeline.joblib")
    window = Window(folder / "rows" / "calibrate.parquet")
    label = window.column(scorer.label)
    with workers_of(scorer.compute) as workers:
        margin = matrix_margins(pipeline, pipeline[0].encoded(window, workers))
    slope, intercept = fit_platt(margin, label)
    calibration = {"slope": slope, "intercept": intercept}
    probability = calibrated(margin, calibration)
    amount = window.column(scorer.costs.amount) if scorer.costs else None
    threshold = threshold_for(probability, label, scorer.decision, amount, scorer.costs)
    fitted = {
        "calibration": calibration,
        "decision": {"policy": scorer.decision.model_dump(exclude_none=True), "threshold": threshold},
        "operating_points": operating_points(probability, label, threshold),
    }
    text = json.dumps(fitted, indent=1) + "\n"
    write_text(folder / "calibration.json", text)
    say(text)


if __name__ == "__main__":
    run(main)
