"""The model of a past date: it is made from what was known by then, and the monitor gives its state."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.scoring.fields import SECONDS_A_DAY
from handler.scoring.scorer import load_scorer
from training.data.requests import requests_of
from training.data.row_checks import check_rows, declared_columns
from training.data.row_reader import read_columns
from training.data.split import split_by_time
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.model.fit import fit_pipeline, margins
from training.monitoring.binning import Binning
from training.monitoring.dated_model import DatedModel, ScoredRows, model_at, state_of
from training.params import Decision, Model

AT = pd.Timestamp("2025-03-05").timestamp()
"""Nine weeks after the history begins."""
Make = Callable[..., DatedModel]
SMALL = Model(rounds=5, max_depth=3, learning_rate=0.3)
NUMBER = st.none() | st.floats(-1e30, 1e30)
VALUES = st.fixed_dictionaries(
    {
        "amount": st.floats(0, 100_000),
        "speed": NUMBER | st.floats(0, 30),
        "visits": st.none() | st.integers(0, 10).map(float),
        "country": st.none() | st.sampled_from(["NA", "DE", "FR", "rare", "never seen", "other"]),
        "is_new": st.none() | st.sampled_from([0.0, 1.0]),
        "item": st.none() | st.sampled_from(["rice", "USB cable", "nothing that is listed", ""]),
    }
)


@pytest.fixture(scope="module")
def rows(history: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    """Thirteen weeks of rows."""
    return history(91)


@pytest.fixture(scope="module")
def make(rows: pd.DataFrame, dated_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame) -> Make:
    """Train the model of a date within these rows; each argument changes one thing."""

    def train(at: float = AT, changed: pd.DataFrame = rows, scorer: ScorerDeclaration = dated_scorer) -> DatedModel:
        return model_at(at, changed, scorer, SMALL, mini_catalogue)

    return train


@pytest.fixture(scope="module")
def model(make: Make) -> DatedModel:
    """The model of that date."""
    return make()


@pytest.fixture(scope="module")
def present(trained: Path, mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame) -> DatedModel:
    """The model of the day after the trained scorer's rows end, with the tuned parameters."""
    read = read_columns(trained / "data" / "rows.parquet", declared_columns(mini_scorer))
    parameters = Model.model_validate_json((trained / "build" / "mini" / "tuned.json").read_bytes())
    checked = check_rows(read, mini_scorer).clean
    return model_at(checked["at"].max() + SECONDS_A_DAY, checked, mini_scorer, parameters, mini_catalogue)


def content(model: DatedModel) -> dict[str, Any]:
    """Everything that makes up a model."""
    encoder, booster = model.pipeline[0], model.pipeline[-1].get_booster()
    return {
        "booster": bytes(booster.save_raw("ubj")),
        "vocabulary": encoder.vocabulary_,
        "calibration": model.calibration,
        "threshold": model.threshold,
        "baseline": model.baseline,
        "learned_until": model.learned_until,
        "window": model.window.to_csv(),
    }


def recorded_bins(model: DatedModel, rows: pd.DataFrame) -> np.ndarray:
    """The bins of what the function would record for requests with these rows' values."""
    values = rows[list(model.pipeline[0].contract.fields)].astype(object)
    vectors = [model.features.encode([None if pd.isna(value) else value for value in row]) for row in values.to_numpy()]
    binning = Binning(model.baseline["features"])
    recorded = [
        {name: model.features.display(index, vector[index]) for index, name in enumerate(model.features.names)}
        for vector in vectors
    ]
    return binning.matrix(recorded)


def test_model_of_the_present_is_the_stages(present: DatedModel, trained: Path) -> None:
    """On the same rows it equals the model of `make train` to the last bit, with its threshold and baseline."""
    folder = trained / "build" / "mini"
    fitted, baseline = (json.loads((folder / f"{name}.json").read_text()) for name in ("calibration", "baseline"))
    assert bytes(present.pipeline[-1].get_booster().save_raw("ubj")) == (folder / "model.ubj").read_bytes()
    assert present.calibration == fitted["calibration"]
    assert present.threshold == fitted["decision"]["threshold"]
    assert present.baseline == {name: baseline[name] for name in ("features", "score")}
    stored = pd.read_parquet(folder / "rows" / "test.parquet")
    # Texts that are read from a file have Arrow's type.
    pd.testing.assert_frame_equal(present.window.astype(stored.dtypes), stored)


def test_rows_are_scored_as_the_function_scores_them(
    present: DatedModel, mini_bundle: Path, mini_scorer: ScorerDeclaration
) -> None:
    """Probabilities and decisions are those of the packaged scorer; times and labels are those of the rows."""
    packaged = load_scorer(mini_bundle)
    requests = [packaged.request_model.model_validate(row) for row in requests_of(present.window, packaged.contract)]
    answers = packaged.scores(requests)
    scored = present.scored(present.window, mini_scorer)
    assert scored.probability == pytest.approx([answer.probability for answer in answers], rel=1e-5)
    assert scored.flagged.tolist() == [answer.is_flagged for answer in answers]
    assert scored.time.tolist() == present.window["at"].tolist()
    assert scored.label.tolist() == present.window["is_fraud"].tolist()


def test_bins_are_those_of_recorded_values(
    model: DatedModel, rows: pd.DataFrame, dated_scorer: ScorerDeclaration
) -> None:
    """Each feature has the bins that the monitor gives recorded values, including missing and rare ones."""
    served = rows[rows["at"] >= AT].assign(is_fraud=0)
    bins = model.scored(served, dated_scorer).bins
    assert bins.tolist() == recorded_bins(model, served).tolist()
    names = model.features.names
    could_miss = {"speed", "visits", "is_new", "item_kind", "momentum", "amount_per_visit"}
    assert {name for index, name in enumerate(names) if (bins[:, index] == 0).any()} == could_miss
    assert all(len(np.unique(bins[:, index])) >= 3 for index in range(len(names)))


@given(st.lists(VALUES, min_size=1, max_size=20))
def test_bins_agree_on_any_values(
    model: DatedModel, dated_scorer: ScorerDeclaration, drawn: list[dict[str, Any]]
) -> None:
    """Any request's values fall into the same bins, scored here or recorded by the function."""
    columns = {name: pd.Series([row[name] for row in drawn]) for name in drawn[0]}
    texts = {name: columns[name].astype(object).where(columns[name].notna(), None) for name in ("country", "item")}
    numbers = {name: values.astype(np.float64) for name, values in columns.items() if name not in texts}
    served = pd.DataFrame({**numbers, **texts}).assign(at=AT, is_fraud=0)
    assert model.scored(served, dated_scorer).bins.tolist() == recorded_bins(model, served).tolist()


def test_nothing_later_is_learned(make: Make, model: DatedModel, rows: pd.DataFrame) -> None:
    """Later rows, and labels that were not yet known, do not change the model."""
    settled = rows[rows["at"] < AT - 2 * SECONDS_A_DAY]
    later = rows[rows["at"] >= AT - 2 * SECONDS_A_DAY]
    turned = later.assign(is_fraud=1 - later["is_fraud"], amount=later["amount"] * 7, country="new", item="rice")
    for unknown in (turned, turned.iloc[::2], turned.head(0)):
        assert content(make(changed=pd.concat([settled, unknown]))) == content(model)


def test_the_last_known_label_counts(make: Make, model: DatedModel, rows: pd.DataFrame) -> None:
    """Rows before the label delay are known, including the last one."""
    ends = AT - 2 * SECONDS_A_DAY
    assert model.window["at"].max() == rows.loc[rows["at"] < ends, "at"].max()
    last = rows.index[rows["at"] < ends][-1]
    turned = rows.assign(is_fraud=rows["is_fraud"].where(rows.index != last, 1 - rows["is_fraud"]))
    assert make(changed=turned).window["is_fraud"].iloc[-1] == 1 - model.window["is_fraud"].iloc[-1]


def test_windows_keep_the_label_delay(make: Make, model: DatedModel, dated_scorer: ScorerDeclaration) -> None:
    """Training rows end seventeen days plus the declared delay before the latest labelled row."""
    ends = model.window["at"].max()
    days = [(ends - seconds) / SECONDS_A_DAY for seconds in (model.window["at"].min(), model.learned_until)]
    assert days == pytest.approx([7, 19], abs=0.3)
    assert days[0] <= 7
    assert days[1] > 19
    split = dated_scorer.split.model_copy(update={"label_delay_days": 0})
    prompt = make(AT - 2 * SECONDS_A_DAY, scorer=dated_scorer.model_copy(update={"split": split}))
    pd.testing.assert_frame_equal(prompt.window, model.window)
    assert model.learned_until < prompt.learned_until


def test_a_refitted_model_has_learned_every_window(
    make: Make, rows: pd.DataFrame, dated_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame
) -> None:
    """With `split.refit` it also learns the calibration window, and only rows within the label delay are left out."""
    scorer = dated_scorer.model_copy(update={"split": dated_scorer.split.model_copy(update={"refit": True})})
    windows = split_by_time(rows[rows["at"] < AT - 2 * SECONDS_A_DAY], scorer)
    assert list(windows) == ["train", "calibrate", "test"]
    by_hand = fit_pipeline(scorer, SMALL, mini_catalogue, pd.concat(windows.values(), ignore_index=True))
    assert margins(make(scorer=scorer).pipeline, rows).tolist() == margins(by_hand, rows).tolist()


def test_a_refitted_model_is_judged_by_its_twin(make: Make, model: DatedModel, dated_scorer: ScorerDeclaration) -> None:
    """With `split.refit` it learns the window too; the gate judges its twin that has not, with the same threshold."""
    split = dated_scorer.split.model_copy(update={"refit": True})
    refitted = make(scorer=dated_scorer.model_copy(update={"split": split}))
    assert refitted.learned_until == model.window["at"].max() > model.learned_until
    assert (refitted.calibration, refitted.threshold) == (model.calibration, model.threshold)
    assert content(refitted.judged)["booster"] == content(model)["booster"] != content(refitted)["booster"]


def test_bands_are_those_of_the_date(make: Make, model: DatedModel, dated_scorer: ScorerDeclaration) -> None:
    """Blocked rows are marked as such; if the rows of that date cannot support a block band, none is."""
    review, rows = dated_scorer.decision.given, model.window
    for block, is_possible in (({"recall": 0.3}, True), ({"precision": 1.0, "confidence": 0.999}, False)):
        decision = Decision.model_validate({"review": review, "block": block})
        banded = make(scorer=dated_scorer.model_copy(update={"decision": decision}))
        assert banded.threshold == model.threshold
        scored = banded.scored(rows, dated_scorer)
        assert ("block" in banded.decision) == scored.blocked.any() == is_possible
        assert not (scored.blocked & ~scored.flagged).any()


@pytest.mark.parametrize(
    ("date", "sentence"),
    [
        ("2025-01-03", "no label was known on 2025-01-03T00:00:00; begin later"),
        ("2025-01-15", "the train window has no rows; it must have both classes: add older rows"),
        ("2025-03-05", "the test window has only is_fraud = 0 in 3"),
    ],
    ids=["nothing known", "nothing to learn from", "no recent fraud"],
)
def test_no_model_is_an_error(make: Make, rows: pd.DataFrame, date: str, sentence: str) -> None:
    """If too little was known for a model, the error says what is missing; in the last case all frauds are old."""
    old_frauds = rows.assign(is_fraud=rows["is_fraud"].where(rows["at"] < AT - 9 * SECONDS_A_DAY, 0))
    with pytest.raises(DataError) as caught:
        make(pd.Timestamp(date).timestamp(), old_frauds)
    assert str(caught.value).startswith(sentence)


@pytest.fixture(scope="module")
def weeks(model: DatedModel, rows: pd.DataFrame, dated_scorer: ScorerDeclaration) -> list[ScoredRows]:
    """The four weeks after the model was made, scored by it."""
    ends = AT + 7 * SECONDS_A_DAY * np.arange(5)
    served = [rows[(rows["at"] >= begin) & (rows["at"] < end)] for begin, end in pairwise(ends)]
    return [model.scored(week, dated_scorer) for week in served]


def contradicted(week: ScoredRows) -> ScoredRows:
    """The week with new labels: its frauds are the rows with the lowest scores."""
    return replace(week, label=(week.probability <= np.quantile(week.probability, 0.1)).astype(np.int8))


@pytest.mark.parametrize(
    ("change", "expected"),
    [(lambda week: week, ["insufficient", *["ok"] * 4]), (contradicted, ["insufficient", "ok", *["retrain"] * 3])],
    ids=["usual weeks", "contradicted weeks"],
)
def test_state_follows_the_labels(
    model: DatedModel,
    weeks: list[ScoredRows],
    dated_scorer: ScorerDeclaration,
    change: Callable[[ScoredRows], ScoredRows],
    expected: list[str],
) -> None:
    """The state is insufficient before the first week, ok after usual ones, and retrain after enough bad ones."""
    changed = [change(week) for week in weeks]
    states = [state_of(changed[:n], model, dated_scorer, AT + 7 * n * SECONDS_A_DAY) for n in range(5)]
    assert states == expected


@pytest.mark.parametrize(("days", "state"), [(2, "ok"), (7, "ok"), (16, "retrain")])
def test_labels_count_once_they_are_known(
    model: DatedModel, weeks: list[ScoredRows], dated_scorer: ScorerDeclaration, days: int, state: str
) -> None:
    """Labels that are two weeks late do not count for two weeks."""
    late = dated_scorer.model_copy(update={"split": dated_scorer.split.model_copy(update={"label_delay_days": 14})})
    served = [contradicted(week) for week in weeks[:2]]
    assert state_of(served, model, late, AT + (days + 7) * SECONDS_A_DAY) == state


def test_missing_field_is_watched(
    model: DatedModel, rows: pd.DataFrame, dated_scorer: ScorerDeclaration, weeks: list[ScoredRows]
) -> None:
    """After two weeks without a field's values the state is watch, though no label contradicts the model."""
    later = rows[(rows["at"] >= AT + 14 * SECONDS_A_DAY) & (rows["at"] < AT + 28 * SECONDS_A_DAY)]
    broken = model.scored(later.assign(speed=np.nan), dated_scorer)
    assert state_of([*weeks[:2], broken], model, dated_scorer, AT + 28 * SECONDS_A_DAY) == "watch"
