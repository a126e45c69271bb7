"""Fit the model that ships on all windows, with the same parameters, if `split.refit` is declared.

Rows within the label delay before a window are in no window, so the model does not learn them. This stage runs after
the evaluation on the test window, whose metrics belong to the model that has not seen that window.
"""

import json
import shutil

from handler.scoring.bundle import to_json
from training.data.split import window_report
from training.data.window import read_training
from training.model.chosen import chosen_model, chosen_scorer
from training.model.distributions import baseline_of
from training.model.write_model import write_model
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, REFIT, write_bytes, write_json
from training.run.progress import say


def main(name: str) -> None:
    """Fit one scorer's model again: `python -m training.refit refund`."""
    scorer, folder = chosen_scorer(name), BUILD / name / REFIT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if not scorer.split.refit:
        say("split.refit is not declared: the model that was judged is the one that ships")
        return
    # If no separate calibration window is declared, its file is empty.
    window, catalogue = read_training(
        scorer, name, *(["calibrate"] if scorer.split.has_calibration_window else []), "test"
    )
    fitted = json.loads((BUILD / name / "calibration.json").read_text())
    with workers_of(scorer.compute) as workers:
        encoder, matrix, report = write_model(scorer, chosen_model(name), (window, catalogue), folder, workers)
        write_bytes(folder / "baseline.json", to_json(baseline_of(encoder, matrix, fitted["score"])))
    write_json(folder / "window.json", window_report(window.column(scorer.time), window.column(scorer.label)))
    say(json.dumps(report, indent=1))


if __name__ == "__main__":
    run(main)
