"""Monotone directions: their meaning for derived features, and that fitted models keep them in every row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xgboost import XGBClassifier

from handler.scoring.contract import Contract, DerivedFeature
from handler.scoring.features import feature_types
from handler.scoring.fields import DeclaredField
from training.evaluation.calibration import calibrated, fit_platt
from training.model.encoder import FeatureEncoder
from training.model.fit import build_model
from training.model.resampling import Resampler
from training.monotone import monotone_signs
from training.params import Model, Resampling

N_ROWS = 1_500
NO_CATALOGUE = pd.DataFrame({"field": [], "name": [], "category": []}, dtype=str)
MODEL = Model(rounds=30, max_depth=4, learning_rate=0.3, min_child_weight=1, threads=1)
AMOUNTS = np.unique(np.round(np.geomspace(0.01, 5_000, 60), 2))
AGES = np.linspace(0.5, 400, 60)


Keys = dict[str, Any]


def contract(features: Keys, time: str | None = None, **fields: Keys) -> Contract:
    """A contract with these fields, numbers by default, and these derived features."""
    return Contract(
        route="/x",
        answer="decision",
        id=None,
        fields={name: DeclaredField(**{"type": "number"} | keys) for name, keys in fields.items()},
        features={name: DerivedFeature(**keys) for name, keys in features.items()},
        time=time,
    )


UP, DOWN = {"monotone": "increasing"}, {"monotone": "decreasing"}
RATIO, PRODUCT = {"c": {"ratio": ("a", "b")}}, {"c": {"product": ("a", "b")}}


@pytest.mark.parametrize(
    ("features", "a", "b", "sign"),
    [
        (RATIO, {}, {}, 0),
        (RATIO, UP, {"min": 0}, 1),
        (RATIO, DOWN, {"min": 0}, -1),
        (RATIO, UP, {"type": "count"}, 1),
        (RATIO, {"min": 0}, UP | {"min": 0.5}, -1),
        (RATIO, {"min": 0}, DOWN | {"min": 0.5}, 1),
        (RATIO, UP | {"min": 0}, DOWN | {"min": 0.5}, 1),
        (RATIO, DOWN | {"min": 0}, UP | {"min": 0.5}, -1),
        (PRODUCT, {}, {}, 0),
        (PRODUCT, UP, {"min": 0}, 1),
        (PRODUCT, {"min": 0}, DOWN, -1),
        (PRODUCT, UP | {"min": 0}, UP | {"min": 0}, 1),
        (PRODUCT, DOWN | {"min": 0}, DOWN | {"min": 0}, -1),
    ],
)
def test_sign_of_a_derived_feature(features: Keys, a: Keys, b: Keys, sign: int) -> None:
    """A ratio inverts its divisor's direction, and a product keeps both; without any direction there is none."""
    signs = {"increasing": 1, "decreasing": -1, None: 0}
    expected = [signs[a.get("monotone")], signs[b.get("monotone")], sign]
    assert monotone_signs(contract(features, a=a, b=b)) == expected


INVERTED = (
    "fields.{0}.monotone cannot hold for features.c: {1} may be below 0 and invert the direction; "
    "declare {1} with min: 0, or remove the feature"
)
DIVIDED_BY_0 = (
    "fields.b.monotone cannot hold for features.c, which has no value where b is 0; "
    "declare b with a min above 0, or remove the feature"
)
TWO_DIRECTIONS = (
    "features.c cannot follow the directions of both a and {}; remove monotone from one of them, or remove the feature"
)


@pytest.mark.parametrize(
    ("features", "a", "b", "sentence"),
    [
        (RATIO, UP, {}, INVERTED.format("a", "b")),
        (PRODUCT, {}, DOWN, INVERTED.format("b", "a")),
        (RATIO, {"min": -1}, UP | {"min": 1}, INVERTED.format("b", "a")),
        (RATIO, {"min": 0}, UP | {"min": 0}, DIVIDED_BY_0),
        (RATIO, {"min": 0}, UP | {"type": "count"}, DIVIDED_BY_0),
        (RATIO, UP | {"min": 0}, UP | {"min": 1}, TWO_DIRECTIONS.format("b")),
        (PRODUCT, UP | {"min": 0}, DOWN | {"min": 0}, TWO_DIRECTIONS.format("b")),
        # A field combined with itself, for which no direction is derived.
        ({"c": {"ratio": ("a", "a")}}, UP | {"min": 1}, {}, TWO_DIRECTIONS.format("a")),
        ({"c": {"product": ("a", "a")}}, UP | {"min": 0}, {}, TWO_DIRECTIONS.format("a")),
    ],
)
def test_a_direction_that_cannot_hold_is_refused(features: Keys, a: Keys, b: Keys, sentence: str) -> None:
    """If a derived feature could invert a field's direction, the sentence says why and what to do."""
    with pytest.raises(ValueError, match="monotone") as caught:
        monotone_signs(contract(features, a=a, b=b))
    assert str(caught.value) == sentence


def test_a_direction_is_that_of_the_age() -> None:
    """An age is 0 or more, including 0; features of the time have no direction."""
    features = {"c": {"product": ("a", "b")}, "hour": {"hour_of_day": "at"}}
    opened = DOWN | {"type": "date"}
    assert monotone_signs(contract(features, time="at", a={"min": 0}, b=opened)) == [0, -1, -1, 0]
    with pytest.raises(ValueError, match="monotone") as caught:
        monotone_signs(contract(RATIO, time="at", a={"min": 0}, b=opened))
    assert str(caught.value) == DIVIDED_BY_0.replace("declare b with a min above 0, or ", "")


def test_signs_stand_in_the_order_of_the_columns() -> None:
    """Fields come first, whatever their type, then derived features."""
    declared = contract(
        {"c": {"ratio": ("a", "b")}, "d": {"product": ("b", "b")}},
        a=DOWN,
        country={"type": "category"},
        is_new=UP | {"type": "flag"},
        b={"min": 0},
    )
    assert monotone_signs(declared) == [-1, 0, 1, 0, -1, 0]


BOUND = contract(
    {"amount_to_average": {"ratio": ("amount", "average")}, "spent": {"product": ("amount", "average")}},
    amount={"type": "money", "min": 0, "monotone": "increasing"},
    average={"type": "money", "min": 0},
    age={"min": 0, "monotone": "decreasing"},
    speed={},
    country={"type": "category"},
    is_new={"type": "flag"},
)
FREE = contract(
    {name: feature.model_dump() for name, feature in BOUND.features.items()},
    **{name: field.model_dump(exclude={"monotone"}) for name, field in BOUND.fields.items()},
)

Margin = Callable[[pd.DataFrame], npt.NDArray[np.float32]]


def drawn_rows(n_rows: int, seed: int) -> pd.DataFrame:
    """Random rows with missing values in every column, and a divisor that is sometimes 0."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "amount": np.round(rng.lognormal(3, 2, n_rows), 2),
            "average": np.round(rng.lognormal(3, 1, n_rows) * (rng.random(n_rows) > 0.05), 2),
            "age": rng.exponential(100, n_rows),
            "speed": rng.normal(0, 10, n_rows),
            "country": rng.choice(np.array(["DE", "FR", "NA", "rare"], dtype=object), n_rows, p=[0.5, 0.3, 0.19, 0.01]),
            "is_new": np.where(rng.random(n_rows) < 0.4, 1.0, 0.0),
        }
    )
    for name in rows:
        rows[name] = rows[name].where(rng.random(n_rows) >= 0.05, None if rows[name].dtype == object else np.nan)
    return rows


def labels_against_the_directions(rows: pd.DataFrame) -> npt.NDArray[np.int8]:
    """Frauds that come and go with the amount and the age, which would make a free model rise and fall."""
    wave = np.sin(2 * np.log(rows["amount"].fillna(20) + 0.01)) + np.sin(rows["age"].fillna(100) / 30)
    noise = np.random.default_rng(5).normal(0, 0.3, len(rows))
    return (wave + 0.5 * (rows["country"] == "NA") + noise > 1.2).to_numpy(dtype=np.int8)


def fitted_margin(bound: Contract, declared: Resampling, model: Model = MODEL) -> Margin:
    """The margin of a model fitted, through the resampler, to labels that contradict the directions."""
    rows = drawn_rows(N_ROWS, seed=1)
    label = labels_against_the_directions(rows)
    encoder = FeatureEncoder(bound, NO_CATALOGUE).fit(rows)
    resampler = Resampler(declared, feature_types(bound), 7)
    matrix, labels = resampler.fit_resample(encoder.transform(rows), label)
    assert len(labels) > len(label) or declared.method == "none"
    booster: XGBClassifier = build_model(model, bound, seed=7).fit(matrix, labels)
    return lambda rows: booster.predict(encoder.transform(rows), output_margin=True)


def steps(margin: Margin, name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The changes of 150 other rows' margins from one value of a field to the next, all else being equal."""
    rows = drawn_rows(150, seed=2)
    swept = rows.loc[rows.index.repeat(len(values))].assign(**{name: np.tile(values, len(rows))})
    return np.diff(margin(swept).reshape(len(rows), len(values)), axis=1)


@pytest.fixture(scope="module")
def bound_margin() -> Margin:
    """The margin of a model that is bound to the declared directions."""
    return fitted_margin(BOUND, Resampling(method="none"))


def test_a_free_model_rises_and_falls() -> None:
    """Negative control: without declared directions, a model of the same rows rises and falls."""
    margin = fitted_margin(FREE, Resampling(method="none"))
    assert steps(margin, "amount", AMOUNTS).min() < -0.5
    assert steps(margin, "age", AGES).max() > 0.5


def test_risk_follows_the_declared_directions(bound_margin: Margin) -> None:
    """The margin never falls with the amount, despite its ratio and product, and never rises with the age."""
    by_amount, by_age = steps(bound_margin, "amount", AMOUNTS), steps(bound_margin, "age", AGES)
    assert by_amount.max() > by_amount.min() >= 0
    assert by_age.min() < by_age.max() <= 0


SOME_MONEY = st.floats(0, 1e15)
OTHER_VALUES = st.fixed_dictionaries(
    {
        "average": st.none() | SOME_MONEY,
        "age": st.none() | st.floats(0, 1e15),
        "speed": st.none() | st.floats(-1e15, 1e15),
        "country": st.sampled_from([None, "DE", "FR", "NA", "rare", "never seen"]),
        "is_new": st.sampled_from([None, 0.0, 1.0]),
    }
)


@given(amounts=st.tuples(SOME_MONEY, SOME_MONEY), others=OTHER_VALUES)
def test_direction_holds_for_any_request(bound_margin: Margin, amounts: tuple[float, float], others: Keys) -> None:
    """If two requests differ only in the amount, the higher amount is never safer, whatever the other fields."""
    rows = pd.DataFrame([{"amount": amount, **others} for amount in sorted(amounts)])
    low, high = bound_margin(rows.astype(dict.fromkeys(("average", "age", "speed", "is_new"), float)))
    assert low <= high


def test_direction_holds_with_smote() -> None:
    """Directions hold with synthetic frauds."""
    margin = fitted_margin(BOUND, Resampling(method="smote", ratio=1.0))
    assert steps(margin, "amount", AMOUNTS).min() >= 0
    assert steps(margin, "age", AGES).max() <= 0


def test_direction_holds_after_calibration(bound_margin: Margin) -> None:
    """Calibrated probabilities keep the margin's direction."""
    later = drawn_rows(800, seed=3)
    slope, intercept = fit_platt(bound_margin(later), labels_against_the_directions(later))
    numbers = {"slope": slope, "intercept": intercept}

    def probability(rows: pd.DataFrame) -> npt.NDArray[Any]:
        return calibrated(bound_margin(rows), numbers)

    assert steps(probability, "amount", AMOUNTS).min() >= 0
    assert steps(probability, "age", AGES).max() <= 0


def test_direction_holds_through_a_divisor() -> None:
    """A divisor keeps its direction, because the ratio is bound in the opposite one."""
    keys = {name: field.model_dump() for name, field in BOUND.fields.items() if name != "country"}
    keys["amount"] |= {"monotone": None}
    keys["age"] |= {"min": 0.5}
    bound = contract({"amount_by_age": {"ratio": ("amount", "age")}}, **keys)
    margin = fitted_margin(bound, Resampling(method="none"))
    assert steps(margin, "age", AGES).max() <= 0


def test_direction_holds_with_exact_trees() -> None:
    """Directions hold with the exact tree method."""
    keys = {name: field.model_dump() for name, field in BOUND.fields.items() if name != "country"}
    model = MODEL.model_copy(update={"tree_method": "exact"})
    margin = fitted_margin(contract({}, **keys), Resampling(method="none"), model)
    assert steps(margin, "amount", AMOUNTS).min() >= 0
