"""Tuning: the settings of the trials, the best of them, and the model that train makes of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import optuna
import pandas as pd
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


@pytest.fixture(scope="module")
def folds() -> list[Fold]:
    """Three folds of encoded rows in the mini scorer's eight columns, 20 % of them frauds."""
    found = []
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed)
        label = (rng.random(450) < 0.2).astype(np.int8)
        matrix = rng.normal(size=(450, 8)).astype(np.float32)
        matrix[:, 0] += 1.5 * label
        matrix[:, [3, 4, 5]] = rng.integers(0, 2, (450, 3))
        found.append(Fold(matrix[:300], label[:300], matrix[300:], label[300:]))
    return found


def tuning(scorer: ScorerDeclaration, model: dict[str, Any], **keys: object) -> ScorerDeclaration:
    """The scorer with these pinned parameters and this way of tuning."""
    return scorer.model_copy(
        update={"model": Model.model_validate(model), "tuning": Tuning.model_validate({"mode": "tpe"} | keys)}
    )


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


def test_what_is_pinned_is_not_searched(mini_scorer: ScorerDeclaration) -> None:
    """The search takes what the model leaves open, in one order."""
    assert searched_parameters(tuning(mini_scorer, FAST)) == [name for name in TUNED if name != "rounds"]
    assert searched_parameters(tuning(mini_scorer, {})) == list(TUNED)


def test_a_grid_says_itself_what_is_searched(mini_scorer: ScorerDeclaration) -> None:
    """With a grid nothing else is searched, though the model leaves it open."""
    scorer = tuning(mini_scorer, FAST, mode="grid", grid={"max_depth": [2, 3], "learning_rate": [0.1]})
    assert searched_parameters(scorer) == ["learning_rate", "max_depth"]


def test_an_exact_tree_has_no_bins_to_search(mini_scorer: ScorerDeclaration) -> None:
    """Exact trees have no bins, so no trial is spent on how many."""
    assert "max_bin" not in searched_parameters(tuning(mini_scorer, FAST | {"tree_method": "exact"}))


def test_first_trial_is_the_declared_model(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """The search begins with what is declared, and the defaults for the rest."""
    scorer = tuning(mini_scorer, FAST | {"max_depth": 2}, trials=2)
    first, second = trials(folds, scorer)
    assert first.model == Model(rounds=8, threads=1, max_depth=2) != second.model


def test_pinned_parameters_never_vary(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """Every trial keeps what the declaration gives; what it leaves open does vary."""
    scorer = tuning(mini_scorer, FAST | {"max_depth": 2, "learning_rate": 0.25}, trials=4)
    models = [trial.model for trial in trials(folds, scorer)]
    assert {(model.rounds, model.max_depth, model.learning_rate, model.threads) for model in models} == {
        (8, 2, 0.25, 1)
    }
    assert len({model.subsample for model in models}) == 4


def test_one_seed_one_search(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """Searched twice, the same settings are tried with the same results, and the same one wins."""
    scorer = tuning(mini_scorer, FAST, trials=12)
    first, again = (search(folds, scorer) for _ in range(2))
    assert first == again
    assert best_of(first).model == best_of(again).model


def test_another_seed_another_search(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """The scorer's seed is the search's."""
    scorer = tuning(mini_scorer, FAST, trials=2)
    _, first = trials(folds, scorer)
    _, other = trials(folds, scorer.model_copy(update={"seed": 8}))
    assert first.model != other.model


def test_drawn_values_are_short(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """A drawn value has four digits, so that another processor's last bits try the same settings."""
    for trial in trials(folds, tuning(mini_scorer, FAST, trials=4)):
        for name in TUNED:
            value = getattr(trial.model, name)
            assert value == float(f"{value:.4g}")


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ({name: getattr(Model(), name) for name in TUNED} | FAST, {"mode": "tpe", "trials": 9}),
        (FAST, {"mode": "none"}),
        ({}, {"mode": "tpe", "trials": 1}),
    ],
    ids=["all pinned", "mode none", "one trial"],
)
def test_nothing_to_search_is_one_trial(
    folds: list[Fold], mini_scorer: ScorerDeclaration, model: dict[str, Any], keys: dict[str, Any]
) -> None:
    """Where there is nothing to choose from, the declared model is the only trial."""
    scorer = tuning(mini_scorer, model, **keys)
    [only] = trials(folds, scorer)
    assert n_trials(scorer) == 1
    assert only.model == scorer.model
    assert only.is_whole
    assert len(only.folds) == 3


def test_grid_tries_every_combination(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """After the declared setting come all combinations of the grid, each once and on all folds."""
    scorer = tuning(mini_scorer, FAST, mode="grid", grid={"max_depth": [2, 3], "learning_rate": [0.1, 0.2, 0.3]})
    first, *others = trials(folds, scorer)
    assert first.model == scorer.model
    assert sorted((trial.model.max_depth, trial.model.learning_rate) for trial in others) == [
        (depth, rate) for depth in (2, 3) for rate in (0.1, 0.2, 0.3)
    ]
    assert all(trial.is_whole and len(trial.folds) == 3 for trial in others)
    assert n_trials(scorer) == 7


def test_trials_use_the_model_that_train_makes(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """A setting's value on a fold is the average precision of the model that train would make."""
    model = Model(rounds=8, max_depth=2, threads=1)
    for fold, found in zip(folds, fold_precisions(model, folds, mini_scorer), strict=True):
        fitted = build_model(model, mini_scorer.contract, seed=mini_scorer.seed).fit(fold.train, fold.train_label)
        margin = fitted.predict(fold.validate, output_margin=True)
        assert found == average_precision(*rank(margin, fold.validate_label).counts())


def test_class_weight_counts_in_the_search(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """Settings are tried with the weight of frauds that the shipped model will have."""
    weighted = mini_scorer.model_copy(update={"resampling": Resampling(method="class_weight", ratio=1.0)})
    model = Model(rounds=8)
    assert fold_precisions(model, folds, weighted) != fold_precisions(model, folds, mini_scorer)


def test_time_limit_stops_the_search(
    folds: list[Fold], mini_scorer: ScorerDeclaration, capsys: pytest.CaptureFixture[str]
) -> None:
    """A search that is out of time ends after the trial at hand, and says that it did and what that means."""
    found = search(folds, tuning(mini_scorer, FAST, trials=50, time_limit_minutes=1e-9))
    assert len(found) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "stopped after 1e-09 minutes, as declared; another machine may stop at another trial"
    )


def test_each_new_best_is_announced(
    folds: list[Fold], mini_scorer: ScorerDeclaration, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each trial that is the best so far is announced with its number and its average precision."""
    found = search(folds, tuning(mini_scorer, FAST, mode="grid", grid={"max_depth": [1, 2, 4]}))
    expected = [
        f"trial {number}: average precision {trial.mean:.4f}, the best so far"
        for number, trial in enumerate(found, start=1)
        if best_of(found[:number]) is trial
    ]
    announced = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")]
    assert announced == expected


def test_pruned_trials_have_fewer_folds(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """Once enough trials are whole, unpromising ones stop after half the folds; the others use all."""
    found = search(folds, tuning(mini_scorer, FAST, trials=20))
    pruned = [trial for trial in found if not trial.is_whole]
    assert pruned
    assert {len(trial.folds) for trial in pruned} == {2}
    assert {len(trial.folds) for trial in found if trial.is_whole} == {3}
    assert all(trial.is_whole for trial in found[:STARTUP_TRIALS])
    assert best_of(found).mean == max(trial.mean for trial in found if trial.is_whole)


PRECISIONS = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(st.lists(st.tuples(PRECISIONS, st.booleans()), max_size=8), PRECISIONS)
def test_best_is_the_maximum_of_the_whole(others: list[tuple[list[float], bool]], default: list[float]) -> None:
    """The best trial is one that saw all folds, and no such trial is better; of equals the first is taken."""
    found = [trial_of(*default), *(trial_of(*folds, is_whole=is_whole) for folds, is_whole in others)]
    best = best_of(found)
    whole = [trial for trial in found if trial.is_whole]
    assert best.is_whole
    assert best.mean == max(trial.mean for trial in whole)
    assert best is next(trial for trial in whole if trial.mean == best.mean)


def test_mean_is_rounded_as_it_is_reported() -> None:
    """Trials that differ beyond the sixth digit are equals, on every processor."""
    assert trial_of(0.1234561, 0.1234562).mean == trial_of(0.1234563, 0.1234561).mean == 0.123456


def test_gain_where_the_default_stays() -> None:
    """A search that finds nothing better says so."""
    assert describe_gain([trial_of(0.5, 0.5), trial_of(0.4, 0.4)]) == (
        "none of 2 trials is better than the default values; they stay"
    )


def test_gain_where_a_trial_wins() -> None:
    """The gain is reported beside its spread over folds, and that the same folds chose it."""
    assert describe_gain([trial_of(0.5, 0.5), trial_of(0.4, 0.4), trial_of(0.6, 0.8)]) == (
        "trial 3 of 3 has average precision 0.7000, +0.2000 +- 0.1414 over the default values, on folds that chose it"
    )


def report_of(folder: Path) -> dict[str, Any]:
    """The stage's report."""
    report: dict[str, Any] = json.loads((folder / "reports" / "mini" / "tuning.json").read_text())
    return report


def running_best(values: Sequence[float]) -> list[float]:
    """The highest value up to each."""
    return np.maximum.accumulate(values).tolist()


def test_stage_writes_a_model_that_is_whole(trained: Path, mini_scorer: ScorerDeclaration) -> None:
    """The tuned file is a model in which every parameter stands, the pinned ones as declared."""
    tuned = Model.model_validate_json((trained / "build" / "mini" / "tuned.json").read_bytes())
    assert tuned.pinned == set(Model.model_fields)
    for name in mini_scorer.model.pinned:
        assert getattr(tuned, name) == getattr(mini_scorer.model, name)
    assert report_of(trained)["model"] == rounded(tuned.model_dump())


def test_stage_reports_every_trial(trained: Path, mini_scorer: ScorerDeclaration) -> None:
    """The report has each trial's setting and folds; the best is the one whose setting was written."""
    report = report_of(trained)
    assert (report["mode"], report["searched"]) == ("tpe", searched_parameters(mini_scorer))
    assert len(report["trials"]) == 3
    best = report["trials"][report["best"] - 1]
    assert best["average_precision"] == max(trial["average_precision"] for trial in report["trials"])
    assert {name: best[name] for name in report["searched"]} == {
        name: report["model"][name] for name in report["searched"]
    }


def test_stage_writes_the_best_so_far(trained: Path) -> None:
    """The table has a line per trial and never falls."""
    table = pd.read_csv(trained / "reports" / "mini" / "tuning.csv")
    assert table["trial"].tolist() == [1, 2, 3]
    values = [trial["average_precision"] for trial in report_of(trained)["trials"]]
    assert table["best_average_precision"].tolist() == running_best(values)


def test_train_makes_the_tuned_model(trained: Path, mini_scorer: ScorerDeclaration) -> None:
    """The fitted booster is, to the bit, what the tuned values make of the training rows."""
    tuned = Model.model_validate_json((trained / "build" / "mini" / "tuned.json").read_bytes())
    encoder, resampler, model = (step for _, step in joblib.load(trained / "build/mini/pipeline.joblib").steps)
    rows = pd.read_parquet(trained / "build" / "mini" / "rows" / "train.parquet")
    expected = build_model(tuned, mini_scorer.contract, seed=mini_scorer.seed)
    expected.fit(*resampler.fit_resample(encoder.transform(rows), rows["is_fraud"].to_numpy()))
    config = json.loads(expected.get_booster().save_config())["learner"]["gradient_booster"]
    found = config["tree_train_param"]
    assert int(config["gbtree_model_param"]["num_trees"]) == tuned.rounds
    for name in ("max_depth", "min_child_weight", "subsample", "colsample_bytree", "reg_lambda", "max_bin"):
        assert float(found[name]) == pytest.approx(getattr(tuned, name), rel=1e-6)
    assert float(found["eta"]) == pytest.approx(tuned.learning_rate, rel=1e-6)
    assert model.get_booster().save_raw("ubj") == expected.get_booster().save_raw("ubj")
