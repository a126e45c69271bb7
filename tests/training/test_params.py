"""The blocks of a scorer: their defaults, the values that each one refuses, and the parameters open to tuning."""

import pickle
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from handler.scoring.fields import Frozen
from training.params import GRID, TUNED, Costs, Decision, Folds, Model, Quarantine, Resampling, Split, Tuning

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
    """The first message with which a record refuses these keys."""
    with pytest.raises(ValidationError) as caught:
        record.model_validate(keys)
    return caught.value.errors()[0]["msg"]


A_GRID = {"max_depth": [3]}


def test_label_delay_in_seconds() -> None:
    """The delay is converted from days into the seconds of the time column."""
    assert Split(test=0.2, label_delay_days=1.5).label_delay_seconds == 129_600


ONE_TEST_WINDOW = "the test window must be given by exactly one of test (a share of the rows) and test_days"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, ONE_TEST_WINDOW),
        ({"label_delay_days": 7}, ONE_TEST_WINDOW),
        ({"test": 0.2, "test_days": 7}, ONE_TEST_WINDOW),
        ({"calibrate": 0.2}, ONE_TEST_WINDOW),
        (
            {"test": 0.2, "calibrate_days": 7},
            "calibrate_days and test use different units; give both windows as shares, or both in days",
        ),
        (
            {"test_days": 7, "calibrate": 0.2},
            "calibrate and test_days use different units; give both windows as shares, or both in days",
        ),
        ({"test": 0.5, "calibrate": 0.5}, "calibrate + test is 1; it must be below 1"),
        ({"test": 0.7, "calibrate": 0.6}, "calibrate + test is 1.3; it must be below 1"),
    ],
)
def test_a_split_has_one_form(keys: dict[str, float], message: str) -> None:
    """A split without or with two test windows, in mixed units, or with nothing left for training is refused."""
    assert refusal(Split, **keys) == f"Value error, {message}"


@pytest.mark.parametrize(
    ("keys", "has_calibration_window"),
    [
        ({"test": 0.2}, False),
        ({"test_days": 35}, False),
        ({"test": 0.2, "calibrate": 0.2}, True),
        ({"test_days": 7, "calibrate_days": 14}, True),
    ],
)
def test_a_calibration_window_is_optional(keys: dict[str, float], has_calibration_window: bool) -> None:  # noqa: FBT001 - a parameter
    """A test window is enough, as a share or in days; a calibration window exists only if declared."""
    assert Split.model_validate(keys).has_calibration_window == has_calibration_window


def test_a_resampling_that_the_folds_choose_takes_nothing_else() -> None:
    """With auto the folds also choose ratio and neighbours, so declaring these is refused."""
    assert Resampling(method="auto").method == "auto"
    assert refusal(Resampling, method="auto", ratio=0.1, neighbours=3) == (
        "Value error, method is auto, which chooses neighbours, ratio itself; remove it, or name a method"
    )


@pytest.mark.parametrize(
    ("record", "keys"),
    [
        (Split, {"test_days": 7, "calibrate_days": 0}),
        (Split, {"calibrate_days": 14, "test_days": -1}),
        (Split, {"test": 1.0}),
        (Split, {"test": 0.2, "calibrate": 0.0}),
        (Split, {"test": 0.2, "label_delay_days": -1}),
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
    """Each block refuses values that make no sense, and names the key."""
    with pytest.raises(ValidationError) as caught:
        record.model_validate(keys)
    assert [error["loc"] for error in caught.value.errors()] == [(list(keys)[-1],)]


def test_tuned_parameters_are_the_models() -> None:
    """Tuning searches the model's parameters except four; early stopping finds the rounds that suit the rate."""
    assert set(Model.model_fields) - set(TUNED) == {"rounds", "learning_rate", "tree_method", "threads"}


@given(MODELS)
def test_pinned_is_what_was_given(given_keys: dict[str, Any]) -> None:
    """A parameter is pinned if it is given, even at its default, and a file gives back the same model.

    A pickled copy has the same pins, which tell early stopping whether it may choose the rounds.
    """
    model = Model.model_validate(given_keys)
    assert model.pinned == set(given_keys)
    assert Model.model_validate_json(model.model_dump_json(indent=1)) == model
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301 - written the line before
    assert (copy, copy.pinned) == (model, model.pinned)


def test_on_one_core_only_the_threads_differ() -> None:
    """The model of a fold is the declared one with a single thread."""
    declared = Model(rounds=7, threads=4)
    assert declared.on_one_core.model_dump() == declared.model_dump() | {"threads": 1}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "grid"}, "mode is grid, but there is no grid; add one such as grid: {max_depth: [3, 5]}"),
        ({"mode": "tpe", "grid": A_GRID}, "mode is tpe, which reads no grid; remove grid, or declare mode: grid"),
        ({"mode": "none", "grid": A_GRID}, "mode is none, which reads no grid; remove grid, or declare mode: grid"),
    ],
)
def test_a_grid_without_its_mode_is_refused(keys: dict[str, Any], message: str) -> None:
    """A grid needs mode grid, and mode grid needs a grid."""
    assert refusal(Tuning, **keys) == f"Value error, {message}"


@pytest.mark.parametrize(
    "grid", [{"max_depth": [3, 0]}, {"rounds": [20, 2.5]}, {"learning_rate": [0.1, 2]}, {"subsample": [1, 0]}]
)
def test_a_grid_value_that_the_model_refuses(grid: dict[str, list[float]]) -> None:
    """A value that no model can have is refused when it is declared, not during a search."""
    [(name, values)] = grid.items()
    assert refusal(Tuning, mode="grid", grid=grid).startswith(
        f"Value error, grid.{name} holds {values[-1]!r}; it must be "
    )


ONE_POLICY = "it must be exactly one of cost, precision, recall, review_rate"
NO_TARGET = "confidence is for recall and precision, but the policy is"


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
    """No policy, two policies, or a confidence without effect are refused."""
    assert refusal(Decision, **keys) == f"Value error, {message}"


@pytest.mark.parametrize("policy", ["recall", "precision"])
def test_confidence_goes_with_a_target(policy: str) -> None:
    """A recall or a precision may be declared with a confidence."""
    assert Decision.model_validate({policy: 0.9, "confidence": 0.95}).confidence == 0.95


def test_every_block_is_frozen_and_closed() -> None:
    """Blocks refuse unknown keys and cannot be changed."""
    for record in (Split, Quarantine, Folds, Resampling, Model, Tuning, Costs, Decision):
        assert record.model_config["frozen"], record
        assert record.model_config["extra"] == "forbid", record


def test_grid_may_name_every_tuned_parameter() -> None:
    """A grid may list the searched parameters, the rounds and the learning rate, and nothing else."""
    assert get_args(get_args(Tuning.model_fields["grid"].annotation)[0]) == GRID == ("rounds", "learning_rate", *TUNED)
