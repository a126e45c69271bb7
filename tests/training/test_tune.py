"""Tuning: the trials' settings, the best of them, and the model that `train` makes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.made_folds import made_fold
from training.declaration import ScorerDeclaration
from training.evaluation.metrics import average_precision, rank
from training.model.early_stopping import fit_folds
from training.model.fit import build_model
from training.model.folds import Fold
from training.params import TUNED, Model, Resampling, Tuning
from training.run.files import rounded_floats
from training.tune import (
    SPACE,
    Trial,
    best_of,
    describe_gain,
    n_trials,
    search,
    searched_parameters,
    trial_of,
    trials,
)

FAST = {"rounds": 8, "threads": 1}

Scorer = ScorerDeclaration
Keys = dict[str, Any]
Read = Callable[[str], Any]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folds() -> list[Fold]:
    """Three folds with 20 % frauds, each validated on 150 rows."""
    return [made_fold(seed, 300, 150, fraud_rate=0.2, shift=1.5) for seed in (1, 2, 3)]


def tuning(scorer: Scorer, model: Keys, **keys: object) -> Scorer:
    """The scorer with these pinned parameters and this tuning."""
    blocks = {"model": Model.model_validate(model), "tuning": Tuning.model_validate({"mode": "tpe"} | keys)}
    return scorer.model_copy(update=blocks)


def made_trial(*folds: float, is_reference: bool = False) -> Trial:
    """A trial with these average precisions."""
    return Trial(Model(), folds, is_reference)


@pytest.mark.parametrize("name", TUNED)
def test_default_lies_in_the_space(name: str) -> None:
    """The search space contains the default, with which the search starts."""
    value = getattr(Model(), name)
    assert SPACE[name](optuna.trial.FixedTrial({name: value})) == value


@pytest.mark.parametrize("name", TUNED)
def test_space_holds_models_only(name: str) -> None:
    """Every value in the search space is valid for a model."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        Model.model_validate({name: SPACE[name](study.ask())})


@pytest.mark.parametrize(
    ("model", "keys", "searched"),
    [
        ({}, {}, list(TUNED)),
        (FAST | {"max_depth": 2}, {}, [name for name in TUNED if name != "max_depth"]),
        (FAST, {"mode": "grid", "grid": {"max_depth": [2], "learning_rate": [0.1]}}, ["learning_rate", "max_depth"]),
        (FAST | {"tree_method": "exact"}, {}, [name for name in TUNED if name != "max_bin"]),
    ],
    ids=["nothing pinned", "depth pinned", "a grid", "exact trees, which have no bins"],
)
def test_searched_parameters(mini_scorer: Scorer, model: Keys, keys: Keys, searched: list[str]) -> None:
    """The search takes the unpinned parameters that its trees have, in a fixed order; a grid takes only its own."""
    assert searched_parameters(tuning(mini_scorer, model, **keys)) == searched


def test_trials_keep_what_is_pinned(folds: list[Fold], mini_scorer: Scorer) -> None:
    """The first trial has declared and default values; the others vary only unpinned ones, rounded to 4 digits."""
    scorer = tuning(mini_scorer, FAST | {"max_depth": 2, "learning_rate": 0.25}, trials=4)
    models = [trial.model for trial in trials(folds, scorer)]
    assert models[0] == Model(rounds=8, threads=1, max_depth=2, learning_rate=0.25)
    pinned = {(model.rounds, model.max_depth, model.learning_rate, model.threads) for model in models}
    assert pinned == {(8, 2, 0.25, 1)}
    assert len({model.subsample for model in models}) == 4
    # Four digits, so that last bits of another processor lead to the same settings.
    for value in (getattr(model, name) for model in models for name in TUNED):
        assert value == float(f"{value:.4g}")


def test_one_seed_one_search(folds: list[Fold], mini_scorer: Scorer) -> None:
    """The scorer's seed gives the same trials each time, and another seed gives others."""
    scorer = tuning(mini_scorer, FAST, trials=12)
    first, again = (search(folds, scorer) for _ in range(2))
    assert first == again
    _, other, *_ = trials(folds, scorer.model_copy(update={"seed": 8}))
    assert first[1].model != other.model


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ({name: getattr(Model(), name) for name in TUNED} | FAST, {"mode": "tpe", "trials": 9}),
        (FAST, {"mode": "none"}),
        ({}, {"mode": "tpe", "trials": 1}),
    ],
    ids=["all pinned", "mode none", "one trial"],
)
def test_nothing_to_search_is_one_trial(folds: list[Fold], mini_scorer: Scorer, model: Keys, keys: Keys) -> None:
    """If there is nothing to search, the declared model is the only trial."""
    scorer = tuning(mini_scorer, model, **keys)
    [only] = trials(folds, scorer)
    assert n_trials(scorer) == 1
    assert only.model == scorer.model.model_copy(update={"rounds": only.model.rounds})
    assert len(only.folds) == 3


def test_grid_tries_every_combination(folds: list[Fold], mini_scorer: Scorer) -> None:
    """The declared setting is tried first, then every combination of the grid once, on all folds."""
    scorer = tuning(mini_scorer, FAST, mode="grid", grid={"max_depth": [2, 3], "learning_rate": [0.1, 0.2, 0.3]})
    first, *others = trials(folds, scorer)
    assert first.model == scorer.model
    assert sorted((trial.model.max_depth, trial.model.learning_rate) for trial in others) == [
        (depth, rate) for depth in (2, 3) for rate in (0.1, 0.2, 0.3)
    ]
    assert first.is_reference
    assert not any(trial.is_reference for trial in others)
    assert n_trials(scorer) == 7


def test_trials_use_the_model_that_train_makes(folds: list[Fold], mini_scorer: Scorer) -> None:
    """A setting's value on a fold is the average precision of the model that `train` would fit."""
    model = Model(rounds=8, max_depth=2, threads=1)
    for fold, precision in zip(folds, trial_of(model, folds, mini_scorer).folds, strict=True):
        fitted = build_model(model, mini_scorer.contract, seed=mini_scorer.seed).fit(fold.train, fold.train_label)
        margin = fitted.predict(fold.validate, output_margin=True)
        assert precision == average_precision(*rank(margin, fold.validate_label).counts())


def test_a_trial_has_the_rounds_that_suit_it(folds: list[Fold], mini_scorer: Scorer) -> None:
    """Without declared rounds, a trial's model has those of its fits, pinned so that `train` keeps them."""
    model = Model(max_depth=2, learning_rate=0.3)
    trial = trial_of(model, folds, mini_scorer)
    fits = fit_folds(folds, mini_scorer, model)
    assert (trial.model.rounds, trial.folds) == (fits.rounds, fits.precisions)
    assert trial.model.pinned == {"max_depth", "learning_rate", "rounds"}


def test_class_weight_counts_in_the_search(folds: list[Fold], mini_scorer: Scorer) -> None:
    """Trials use the weight of frauds that the shipped model will have."""
    weighted = mini_scorer.model_copy(update={"resampling": Resampling(method="class_weight", ratio=1.0)})
    model = Model(rounds=8)
    assert trial_of(model, folds, weighted).folds != trial_of(model, folds, mini_scorer).folds


def test_time_limit_stops_the_search(folds: list[Fold], mini_scorer: Scorer, capsys: Capture) -> None:
    """A search that runs out of time ends after the current trial, and the output says what this means."""
    results = search(folds, tuning(mini_scorer, FAST, trials=50, time_limit_minutes=1e-9))
    assert len(results) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "stopped after 1e-09 minutes, as declared; another machine may stop at another trial"
    )


def test_each_new_best_is_announced(folds: list[Fold], mini_scorer: Scorer, capsys: Capture) -> None:
    """Each best trial so far is announced with its number and average precision."""
    results = search(folds, tuning(mini_scorer, FAST, mode="grid", grid={"max_depth": [1, 2, 4]}))
    expected = [
        f"trial {number}: average precision {trial.mean:.4f}, the best so far"
        for number, trial in enumerate(results, start=1)
        if best_of(results[:number]) is trial
    ]
    announced = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")]
    assert announced == expected


@pytest.mark.parametrize(
    ("others", "best"),
    [
        # Leads of .01 +- .01 and .019 +- .01 are within two standard errors.
        ([(0.50, 0.62)], 0),
        ([(0.509, 0.629)], 0),
        # A lead of .021 +- .01 is not.
        ([(0.511, 0.631)], 1),
        ([(0.51, 0.61)], 1),
        # Only the best trial is compared with the default: its lead is .055 +- .055.
        ([(0.51, 0.61), (0.50, 0.71)], 0),
        ([(0.4, 0.5), (0.4, 0.5)], 0),
        ([(0.5, 0.6)], 0),
        ([], 0),
    ],
)
def test_the_default_stays_within_two_standard_errors(others: list[tuple[float, ...]], best: int) -> None:
    """Another setting is chosen only if its gain over the default exceeds two standard errors of that gain."""
    results = [made_trial(0.50, 0.60), *(made_trial(*folds) for folds in others)]
    assert best_of(results) is results[best]


PRECISIONS = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(st.lists(PRECISIONS, min_size=1, max_size=8), PRECISIONS)
def test_best_of_a_grid_is_its_maximum(grid: list[list[float]], declared: list[float]) -> None:
    """The best setting of a grid is chosen, the first of equals, even if the declared one is better."""
    results = [made_trial(*declared, is_reference=True), *(made_trial(*folds) for folds in grid)]
    best = best_of(results)
    assert best.mean == max(trial.mean for trial in results[1:])
    assert best is next(trial for trial in results[1:] if trial.mean == best.mean)


def test_mean_is_rounded_as_it_is_reported() -> None:
    """Trials that differ only after the sixth digit are equal, on every processor."""
    assert made_trial(0.1234561, 0.1234562).mean == made_trial(0.1234563, 0.1234561).mean == 0.123456


def test_gain_is_described() -> None:
    """The gain is reported with its standard error and the fact that the same folds chose it, or its absence."""
    default, worse, better = made_trial(0.5, 0.5), made_trial(0.4, 0.4), made_trial(0.65, 0.8)
    assert describe_gain([default]) == (
        "nothing was searched; the declared and default values have average precision 0.5000"
    )
    assert describe_gain([default, worse]) == "none of 2 trials is better than the default values; they stay"
    assert describe_gain([default, worse, better]) == (
        "trial 3 of 3 has average precision 0.7250, +0.2250 +- 0.0750 over the default values, measured on the folds "
        "that chose it"
    )
    assert describe_gain([default, made_trial(0.4, 0.7)]) == (
        "trial 2 of 2 has average precision 0.5500, +0.0500 +- 0.1500 over the default values: within 2 "
        "standard errors, so the default values stay"
    )


def test_gain_of_a_grid_is_that_of_its_best_setting() -> None:
    """The declared values are only the reference; if they are better, the sentence says so."""
    worst, worse, better = made_trial(0.3, 0.3), made_trial(0.4, 0.4), made_trial(0.6, 0.6)
    reference = made_trial(0.5, 0.5, is_reference=True)
    assert describe_gain([reference, worse, worst]) == (
        "trial 2 of 3 has average precision 0.4000, -0.1000 +- 0.0000 over the declared values: the best of the grid "
        "is taken, although the declared values, which it lacks, are better"
    )
    assert describe_gain([reference, worse, better]) == (
        "trial 3 of 3 has average precision 0.6000, +0.1000 +- 0.0000 over the declared values, measured on the folds "
        "that chose it"
    )
    assert describe_gain([reference]).startswith("nothing was searched; ")


def test_stage_writes_a_model_that_is_whole(trained: Path, reported: Read, mini_scorer: Scorer) -> None:
    """The tuned file is a model with every parameter, the pinned ones as declared."""
    tuned = Model.model_validate_json((trained / "build" / "mini" / "tuned.json").read_bytes())
    assert tuned.pinned == set(Model.model_fields)
    for name in mini_scorer.model.pinned:
        assert getattr(tuned, name) == getattr(mini_scorer.model, name)
    assert reported("tuning.json")["model"] == rounded_floats(tuned.model_dump())


def test_stage_reports_every_trial(reported: Read, mini_scorer: Scorer) -> None:
    """The report has each trial's setting and precision and the chosen one, and the table the best so far."""
    report, table = reported("tuning.json"), reported("tuning.csv")
    assert (report["mode"], report["searched"]) == ("tpe", searched_parameters(mini_scorer))
    precisions = [trial["average_precision"] for trial in report["trials"]]
    results = [Trial(Model(), tuple(trial["folds"])) for trial in report["trials"]]
    assert best_of(results) is results[report["best"] - 1]
    assert report["verdict"] == describe_gain(results)
    best = report["trials"][report["best"] - 1]
    for name in (*report["searched"], "rounds"):
        assert best[name] == report["model"][name]
    assert table["trial"].tolist() == [1, 2, 3]
    assert table["best_average_precision"].tolist() == np.maximum.accumulate(precisions).tolist()


def test_train_makes_the_tuned_model(trained: Path, trained_rows: Read, mini_scorer: Scorer) -> None:
    """The booster equals, to the bit, a model fitted with the tuned values to the training rows."""
    tuned = Model.model_validate_json((trained / "build" / "mini" / "tuned.json").read_bytes())
    encoder, resampler, model = (step for _, step in joblib.load(trained / "build/mini/pipeline.joblib").steps)
    rows = trained_rows("train")
    expected = build_model(tuned, mini_scorer.contract, seed=mini_scorer.seed)
    expected.fit(*resampler.fit_resample(encoder.transform(rows), rows["is_fraud"].to_numpy()))
    config = json.loads(expected.get_booster().save_config())["learner"]["gradient_booster"]
    parameters = config["tree_train_param"]
    assert int(config["gbtree_model_param"]["num_trees"]) == tuned.rounds
    for name in ("max_depth", "min_child_weight", "subsample", "colsample_bytree", "reg_lambda", "max_bin"):
        assert float(parameters[name]) == pytest.approx(getattr(tuned, name), rel=1e-6)
    assert float(parameters["eta"]) == pytest.approx(tuned.learning_rate, rel=1e-6)
    assert model.get_booster().save_raw("ubj") == expected.get_booster().save_raw("ubj")
