"""Train the model on the encoded, resampled training rows; write it, its vocabulary and its reference distributions."""

import json

import joblib
import pandas as pd

from handler.scoring.bundle import to_json
from training.data.window import read_training
from training.model.categoriser import held_out_report
from training.model.chosen import chosen_model, chosen_scorer
from training.model.distributions import describe
from training.model.encoder import FeatureEncoder
from training.model.fit import fit_model, pipeline_of
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, REPORTS, write_bytes, write_json, write_whole
from training.run.progress import say


def main(name: str) -> None:
    """Train one scorer's model: `python -m training.train refund`."""
    scorer = chosen_scorer(name)
    folder = BUILD / name
    window, catalogue = read_training(name)
    labels = window.column(scorer.label)
    tuned = chosen_model(name)
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
        "resampling": scorer.resampling.model_dump(),
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
