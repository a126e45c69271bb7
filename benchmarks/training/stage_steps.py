"""The steps of train and the bare fit, for `benchmarks.training.stages`; each prints a line `begins NAME` first."""

import sys
from pathlib import Path

import joblib
import numpy as np
import xgboost

from training.data.window import read_training
from training.model.chosen import chosen_model, chosen_scorer
from training.model.encoder import FeatureEncoder
from training.model.fit import build_model, fit_training_set, pipeline_of, resampled_training_set
from training.model.resampling import fraud_weight
from training.params import Model
from training.run.engine import workers_of
from training.run.files import BUILD


def begins(step: str) -> None:
    """Print that a step begins; a step named "" is not counted."""
    print("begins", step, flush=True)


def train(name: str, folder: Path, parameters: Model) -> None:
    """Run the train stage's own functions one after the other; then save the matrix and the labels for `bare`."""
    begins("features")
    scorer = chosen_scorer(name)
    window, catalogue = read_training(scorer, name)
    label = window.column(scorer.label)
    with workers_of(scorer.compute) as workers:
        encoder = FeatureEncoder(scorer.contract, catalogue).fit_window(window, workers)
        matrix = encoder.encoded(window, workers)
        begins("resampling")
        resampler, training_set = resampled_training_set(scorer, matrix, label, workers)
        begins("fit")
        model = fit_training_set(scorer, parameters, training_set, fraud_weight(scorer.resampling, label), workers)
    begins("")
    joblib.dump(pipeline_of(encoder, resampler, model), folder / "pipeline.joblib")
    ((rows, labels),) = training_set.batches(len(training_set))
    np.save(folder / "matrix.npy", rows)
    np.save(folder / "label.npy", labels)


def bare(name: str, folder: Path, parameters: Model) -> None:
    """Train XGBoost alone, on a matrix in memory."""
    scorer = chosen_scorer(name)
    unfitted = build_model(parameters, scorer.contract, seed=scorer.seed)
    options = {key: value for key, value in unfitted.get_xgb_params().items() if value is not None}
    types, threads = options.pop("feature_types", unfitted.feature_types), options["n_jobs"]
    rows, label = np.load(folder / "matrix.npy"), np.load(folder / "label.npy")
    begins("bare fit")
    data = xgboost.QuantileDMatrix(
        rows, label, feature_types=types, enable_categorical=True, max_bin=parameters.max_bin, nthread=threads
    )
    xgboost.train(options, data, num_boost_round=parameters.rounds)
    begins("")


if __name__ == "__main__":
    step, scorer = sys.argv[1:]
    {"train": train, "bare": bare}[step](scorer, BUILD / scorer, chosen_model(scorer))
