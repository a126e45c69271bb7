"""Train the model on the encoded, resampled training rows; write it, its vocabulary and its reference distributions."""

import json

from training.data.window import read_training
from training.model.chosen import chosen_model, chosen_scorer
from training.model.write_model import write_model
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, REPORTS, write_json
from training.run.progress import say


def main(name: str) -> None:
    """Train one scorer's model: `python -m training.train refund`."""
    scorer = chosen_scorer(name)
    with workers_of(scorer.compute) as workers:
        _, _, report = write_model(scorer, chosen_model(name), read_training(scorer, name), BUILD / name, workers)
    write_json(REPORTS / name / "training.json", report)
    say(json.dumps(report, indent=1))


if __name__ == "__main__":
    run(main)
