"""The blocks of a scorer: their defaults, what each refuses by itself, and what tuning may know of them."""

from itertools import combinations
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from handler.scoring.contract import Frozen
from training.params import TUNED, Costs, Decision, Folds, Model, Quarantine, Resampling, Split, Tuning

MODELS = st.fixed_dictionaries(
    {},
    optional={
        "rounds": st.integers(1, 1000),
        "max_depth": st.integers(1, 16),
        "learning_rate": st.floats(0, 1, exclude_min=True),
        "min_child_weight": st.floats(0, 100),
        "subsample": st.floats(0, 1, exclude_min=True),
        "colsample_bytree": st.floats(0, 1, exclude_min=True),
        "reg_lambda": st.floats(0, 100),
        "max_bin": st.integers(2, 5000),
        "tree_method": st.sampled_from(["hist", "exact"]),
        "threads": st.integers(1, 8),
    },
)


def refusal(record: type[Frozen], **keys: object) -> str:
    """The first message with which a record refuses its keys."""
    with pytest.raises(ValidationError) as caught:
        record.model_validate(keys)
    return caught.value.errors()[0]["msg"]


GRID = {"max_depth": [3]}


def test_label_delay_in_seconds() -> None:
    """A day and a half is as many seconds as the time column counts for it."""
    assert Split(train=0.6, calibrate=0.2, test=0.2, label_delay_days=1.5).label_delay_seconds == 129_600


@given(st.integers(1, 98), st.integers(1, 98))
def test_shares_in_percent_that_are_whole_are_taken(train: int, calibrate: int) -> None:
    """Shares are taken exactly where they add up to 1, whatever the last bits of their sum are."""
    test = 100 - train - calibrate
    shares = {"train": train / 100, "calibrate": calibrate / 100, "test": test / 100}
    if test > 0:
        assert Split(**shares).test == test / 100
    else:
        assert refusal(Split, **shares) == "Input should be greater than 0"


def test_shares_that_leave_rows_out_are_refused() -> None:
    """Windows that do not cover all rows are refused with their sum."""
    message = refusal(Split, train=0.6, calibrate=0.2, test=0.1)
    assert message == "Value error, train + calibrate + test is 0.9; it must be 1"


@given(st.floats(0, 1000, exclude_min=True), st.floats(0, 1000, exclude_min=True))
def test_windows_may_be_days_long(calibrate: float, test: float) -> None:
    """Two windows of any length take the place of the three shares."""
    split = Split(calibrate_days=calibrate, test_days=test)
    assert (split.calibrate_days, split.test_days) == (calibrate, test)
    assert (split.train, split.calibrate, split.test) == (None, None, None)


SHARES = {"train": 0.6, "calibrate": 0.2, "test": 0.2}
DAYS = {"calibrate_days": 14, "test_days": 7}


@pytest.mark.parametrize(
    "given_keys", [set(keys) for size in range(6) for keys in combinations([*SHARES, *DAYS], size)]
)
def test_a_split_has_one_form(given_keys: set[str]) -> None:
    """The windows are given by all three shares or by both numbers of days; anything between is refused."""
    keys = {name: value for name, value in (SHARES | DAYS).items() if name in given_keys}
    if given_keys in ({*SHARES}, {*DAYS}):
        assert Split.model_validate(keys).model_dump(include=given_keys) == keys
    else:
        assert refusal(Split, **keys) == (
            "Value error, the windows must be given by train, calibrate and test (shares), "
            "or by calibrate_days and test_days"
        )


@pytest.mark.parametrize(
    ("record", "keys"),
    [
        (Split, {"test_days": 7, "calibrate_days": 0}),
        (Split, {"calibrate_days": 14, "test_days": -1}),
        (Split, {**SHARES, "label_delay_days": -1}),
        (Quarantine, {"max_share": 1.1}),
        (Folds, {"count": 1}),
        (Folds, {"validate_share": 1.0}),
        (Folds, {"sample": 0.0}),
        (Resampling, {"method": "adasyn"}),
        (Resampling, {"method": "smote", "ratio": 1.5}),
        (Resampling, {"method": "smote", "neighbours": 0}),
        (Model, {"rounds": 0}),
        (Model, {"max_depth": 17}),
        (Model, {"tree_method": "approx"}),
        (Tuning, {"mode": "random"}),
        (Tuning, {"mode": "tpe", "trials": 0}),
        (Tuning, {"mode": "tpe", "time_limit_minutes": 0}),
        (Costs, {"amount": "amount", "review": 0}),
        (Decision, {"recall": 0}),
        (Decision, {"cost": "highest"}),
        (Decision, {"recall": 0.9, "confidence": 1}),
    ],
)
def test_a_value_out_of_its_range_is_refused(record: type[Frozen], keys: dict[str, Any]) -> None:
    """Each block refuses what it could not mean, and names the key."""
    with pytest.raises(ValidationError) as caught:
        record.model_validate(keys)
    assert [error["loc"] for error in caught.value.errors()] == [(list(keys)[-1],)]


def test_tuned_parameters_are_the_models() -> None:
    """All that tuning searches is a parameter of the model; threads and the tree method are no matter of search."""
    assert set(Model.model_fields) - set(TUNED) == {"tree_method", "threads"}


@given(MODELS)
def test_pinned_is_what_was_given(given_keys: dict[str, Any]) -> None:
    """A parameter is pinned where it is given, even as the default; a file gives back the same model."""
    model = Model.model_validate(given_keys)
    assert model.pinned == set(given_keys)
    assert Model.model_validate_json(model.model_dump_json(indent=1)) == model


def test_on_one_core_only_the_threads_differ() -> None:
    """The model of a fold is the declared one with a single thread."""
    declared = Model(rounds=7, threads=4)
    assert declared.on_one_core.model_dump() == declared.model_dump() | {"threads": 1}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "grid"}, "mode is grid, but there is no grid; add one such as grid: {max_depth: [3, 5]}"),
        ({"mode": "tpe", "grid": GRID}, "mode is tpe, which reads no grid; remove grid, or declare mode: grid"),
        ({"mode": "none", "grid": GRID}, "mode is none, which reads no grid; remove grid, or declare mode: grid"),
    ],
)
def test_a_grid_without_its_mode_is_refused(keys: dict[str, Any], message: str) -> None:
    """A grid and mode grid come together, or neither does."""
    assert refusal(Tuning, **keys) == f"Value error, {message}"


@pytest.mark.parametrize(
    "grid", [{"max_depth": [3, 0]}, {"rounds": [20, 2.5]}, {"learning_rate": [0.1, 2]}, {"subsample": [1, 0]}]
)
def test_a_grid_value_that_the_model_refuses(grid: dict[str, list[float]]) -> None:
    """A value that no model could have is refused by the declaration, not in the middle of a search."""
    [(name, values)] = grid.items()
    assert refusal(Tuning, mode="grid", grid=grid).startswith(
        f"Value error, grid.{name} holds {values[-1]!r}; it must be "
    )


ONE_POLICY = "it must be exactly one of cost, precision, recall, review_rate"
NO_TARGET = "confidence is for recall and precision, the policy is"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, f"no policy is given; {ONE_POLICY}"),
        ({"recall": 0.9, "cost": "lowest"}, f"cost and recall are given; {ONE_POLICY}"),
        ({"confidence": 0.9}, f"no policy is given; {ONE_POLICY}"),
        ({"review_rate": 0.1, "confidence": 0.9}, f"{NO_TARGET} review_rate; remove confidence"),
        ({"cost": "lowest", "confidence": 0.9}, f"{NO_TARGET} cost; remove confidence"),
    ],
)
def test_a_decision_is_one_policy(keys: dict[str, Any], message: str) -> None:
    """No policy, two of them, or a confidence where it means nothing are refused."""
    assert refusal(Decision, **keys) == f"Value error, {message}"


@pytest.mark.parametrize("policy", ["recall", "precision"])
def test_confidence_goes_with_a_target(policy: str) -> None:
    """A recall or a precision may be declared with a confidence."""
    assert Decision.model_validate({policy: 0.9, "confidence": 0.95}).confidence == 0.95


def test_every_block_is_frozen_and_closed() -> None:
    """No block takes an unknown key, none can be changed."""
    for record in (Split, Quarantine, Folds, Resampling, Model, Tuning, Costs, Decision):
        assert record.model_config["frozen"], record
        assert record.model_config["extra"] == "forbid", record


def test_grid_may_name_every_tuned_parameter() -> None:
    """The keys that a grid may have are the parameters that are searched, no more and no fewer."""
    assert get_args(get_args(Tuning.model_fields["grid"].annotation)[0]) == TUNED
