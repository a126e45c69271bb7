"""Tuning: the settings of the trials, the best of them, and the model that train makes of it."""

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

from training.declaration import ScorerDeclaration
from training.evaluation.metrics import average_precision, rank
from training.model.fit import build_model
from training.model.folds import Fold
from training.params import TUNED, Model, Resampling, Tuning
from training.run.files import rounded
from training.tune import (
    SPACE,
    STARTUP_TRIALS,
    Trial,
    best_of,
    describe_gain,
    fold_precisions,
    n_trials,
    search,
    searched_parameters,
    trials,
)

FAST = {"rounds": 8, "threads": 1}

Scorer = ScorerDeclaration
Keys = dict[str, Any]
Read = Callable[[str], Any]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folds() -> list[Fold]:
    """Three folds of encoded rows in the mini scorer's eight columns, 20 % of them frauds."""
    folds = []
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed)
        label = (rng.random(450) < 0.2).astype(np.int8)
        matrix = rng.normal(size=(450, 8)).astype(np.float32)
        matrix[:, 0] += 1.5 * label
        matrix[:, [3, 4, 5]] = rng.integers(0, 2, (450, 3))
        folds.append(Fold(matrix[:300], label[:300], matrix[300:], label[300:]))
    return folds


def tuning(scorer: Scorer, model: Keys, **keys: object) -> Scorer:
    """The scorer with these pinned parameters and this way of tuning."""
    blocks = {"model": Model.model_validate(model), "tuning": Tuning.model_validate({"mode": "tpe"} | keys)}
    return scorer.model_copy(update=blocks)


def trial_of(*folds: float, is_whole: bool = True, depth: int = 5) -> Trial:
    """A trial with these average precisions."""
    return Trial(Model(max_depth=depth), folds, is_whole)


@pytest.mark.parametrize("name", TUNED)
def test_default_lies_in_the_space(name: str) -> None:
    """What the search begins with is a setting that it could have drawn itself."""
    value = getattr(Model(), name)
    assert SPACE[name](optuna.trial.FixedTrial({name: value})) == value


@pytest.mark.parametrize("name", TUNED)
def test_space_holds_models_only(name: str) -> None:
    """Whatever the search may draw is a value that a model can have."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        Model.model_validate({name: SPACE[name](study.ask())})


@pytest.mark.parametrize(
    ("model", "keys", "searched"),
    [
        ({}, {}, list(TUNED)),
        (FAST, {}, [name for name in TUNED if name != "rounds"]),
        (FAST, {"mode": "grid", "grid": {"max_depth": [2], "learning_rate": [0.1]}}, ["learning_rate", "max_depth"]),
        (FAST | {"tree_method": "exact"}, {}, [name for name in TUNED if name not in {"rounds", "max_bin"}]),
    ],
    ids=["nothing pinned", "rounds pinned", "a grid", "exact trees, which have no bins"],
)
def test_searched_parameters(mini_scorer: Scorer, model: Keys, keys: Keys, searched: list[str]) -> None:
    """The search takes what the model leaves open and its trees have, in one order; with a grid, only the grid's."""
    assert searched_parameters(tuning(mini_scorer, model, **keys)) == searched


def test_trials_keep_what_is_pinned(folds: list[Fold], mini_scorer: Scorer) -> None:
    """The first trial has the declared values and the defaults; the others vary only what is left open, in 4 digits."""
    scorer = tuning(mini_scorer, FAST | {"max_depth": 2, "learning_rate": 0.25}, trials=4)
    models = [trial.model for trial in trials(folds, scorer)]
    assert models[0] == Model(rounds=8, threads=1, max_depth=2, learning_rate=0.25)
    pinned = {(model.rounds, model.max_depth, model.learning_rate, model.threads) for model in models}
    assert pinned == {(8, 2, 0.25, 1)}
    assert len({model.subsample for model in models}) == 4
    # Four digits, so that another processor's last bits lead to the same settings.
    for value in (getattr(model, name) for model in models for name in TUNED):
        assert value == float(f"{value:.4g}")


def test_one_seed_one_search(folds: list[Fold], mini_scorer: Scorer) -> None:
    """The scorer's seed is the search's: searched twice, the trials are the same; another seed has others."""
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
    """Where there is nothing to choose from, the declared model is the only trial."""
    scorer = tuning(mini_scorer, model, **keys)
    [only] = trials(folds, scorer)
    assert n_trials(scorer) == 1
    assert only.model == scorer.model
    assert only.is_whole
    assert len(only.folds) == 3


def test_grid_tries_every_combination(folds: list[Fold], mini_scorer: Scorer) -> None:
    """After the declared setting come all combinations of the grid, each once and on all folds."""
    scorer = tuning(mini_scorer, FAST, mode="grid", grid={"max_depth": [2, 3], "learning_rate": [0.1, 0.2, 0.3]})
    first, *others = trials(folds, scorer)
    assert first.model == scorer.model
    assert sorted((trial.model.max_depth, trial.model.learning_rate) for trial in others) == [
        (depth, rate) for depth in (2, 3) for rate in (0.1, 0.2, 0.3)
    ]
    assert all(trial.is_whole and len(trial.folds) == 3 for trial in others)
    assert n_trials(scorer) == 7


def test_trials_use_the_model_that_train_makes(folds: list[Fold], mini_scorer: Scorer) -> None:
    """A setting's value on a fold is the average precision of the model that train would make."""
    model = Model(rounds=8, max_depth=2, threads=1)
    for fold, precision in zip(folds, fold_precisions(model, folds, mini_scorer), strict=True):
        fitted = build_model(model, mini_scorer.contract, seed=mini_scorer.seed).fit(fold.train, fold.train_label)
        margin = fitted.predict(fold.validate, output_margin=True)
        assert precision == average_precision(*rank(margin, fold.validate_label).counts())


def test_class_weight_counts_in_the_search(folds: list[Fold], mini_scorer: Scorer) -> None:
    """Settings are tried with the weight of frauds that the shipped model will have."""
    weighted = mini_scorer.model_copy(update={"resampling": Resampling(method="class_weight", ratio=1.0)})
    model = Model(rounds=8)
    assert fold_precisions(model, folds, weighted) != fold_precisions(model, folds, mini_scorer)


def test_time_limit_stops_the_search(folds: list[Fold], mini_scorer: Scorer, capsys: Capture) -> None:
    """A search that is out of time ends after the current trial, and prints that it did and what that means."""
    results = search(folds, tuning(mini_scorer, FAST, trials=50, time_limit_minutes=1e-9))
    assert len(results) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "stopped after 1e-09 minutes, as declared; another machine may stop at another trial"
    )


def test_each_new_best_is_announced(folds: list[Fold], mini_scorer: Scorer, capsys: Capture) -> None:
    """Each trial that is the best so far is announced with its number and its average precision."""
    results = search(folds, tuning(mini_scorer, FAST, mode="grid", grid={"max_depth": [1, 2, 4]}))
    expected = [
        f"trial {number}: average precision {trial.mean:.4f}, the best so far"
        for number, trial in enumerate(results, start=1)
        if best_of(results[:number]) is trial
    ]
    announced = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")]
    assert announced == expected


def test_pruned_trials_have_fewer_folds(folds: list[Fold], mini_scorer: Scorer) -> None:
    """Once enough trials are whole, unpromising ones stop after half the folds; the others use all."""
    results = search(folds, tuning(mini_scorer, FAST, trials=20))
    pruned = [trial for trial in results if not trial.is_whole]
    assert pruned
    assert {len(trial.folds) for trial in pruned} == {2}
    assert {len(trial.folds) for trial in results if trial.is_whole} == {3}
    assert all(trial.is_whole for trial in results[:STARTUP_TRIALS])
    assert best_of(results).mean == max(trial.mean for trial in results if trial.is_whole)


PRECISIONS = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(st.lists(st.tuples(PRECISIONS, st.booleans()), max_size=8), PRECISIONS)
def test_best_is_the_maximum_of_the_whole(others: list[tuple[list[float], bool]], default: list[float]) -> None:
    """The best trial is one that saw all folds, and no such trial is better; of equals the first is taken."""
    results = [trial_of(*default), *(trial_of(*folds, is_whole=is_whole) for folds, is_whole in others)]
    best = best_of(results)
    whole = [trial for trial in results if trial.is_whole]
    assert best.is_whole
    assert best.mean == max(trial.mean for trial in whole)
    assert best is next(trial for trial in whole if trial.mean == best.mean)


def test_mean_is_rounded_as_it_is_reported() -> None:
    """Trials that differ beyond the sixth digit are equals, on every processor."""
    assert trial_of(0.1234561, 0.1234562).mean == trial_of(0.1234563, 0.1234561).mean == 0.123456


def test_gain_is_described() -> None:
    """The gain is reported beside its spread over folds, and that the same folds chose it; so is the lack of one."""
    default, worse, better = trial_of(0.5, 0.5), trial_of(0.4, 0.4), trial_of(0.6, 0.8)
    assert describe_gain([default, worse]) == "none of 2 trials is better than the default values; they stay"
    assert describe_gain([default, worse, better]) == (
        "trial 3 of 3 has average precision 0.7000, +0.2000 +- 0.1414 over the default values, on folds that chose it"
    )


def test_stage_writes_a_model_that_is_whole(trained: Path, reported: Read, mini_scorer: Scorer) -> None:
    """The tuned file is a model in which every parameter stands, the pinned ones as declared."""
    tuned = Model.model_validate_json((trained / "build" / "mini" / "tuned.json").read_bytes())
    assert tuned.pinned == set(Model.model_fields)
    for name in mini_scorer.model.pinned:
        assert getattr(tuned, name) == getattr(mini_scorer.model, name)
    assert reported("tuning.json")["model"] == rounded(tuned.model_dump())


def test_stage_reports_every_trial(reported: Read, mini_scorer: Scorer) -> None:
    """The report has each trial's setting and precision, the written setting as the best; the table the best so far."""
    report, table = reported("tuning.json"), reported("tuning.csv")
    assert (report["mode"], report["searched"]) == ("tpe", searched_parameters(mini_scorer))
    precisions = [trial["average_precision"] for trial in report["trials"]]
    best = report["trials"][report["best"] - 1]
    assert best["average_precision"] == max(precisions)
    for name in report["searched"]:
        assert best[name] == report["model"][name]
    assert table["trial"].tolist() == [1, 2, 3]
    assert table["best_average_precision"].tolist() == np.maximum.accumulate(precisions).tolist()


def test_train_makes_the_tuned_model(trained: Path, trained_rows: Read, mini_scorer: Scorer) -> None:
    """The fitted booster is, to the bit, what the tuned values make of the training rows."""
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
