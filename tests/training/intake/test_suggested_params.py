"""Suggested parameters: settings that fit a file, and the block that declares them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from training.data.split import prequential_positions, window_bounds
from training.declaration import PARAMS, declared_scorer, read_declarations
from training.errors import DataError
from training.intake.infer import Inferred, infer
from training.intake.suggested_params import (
    FOLD_CELLS,
    FOLD_ROWS,
    _sample_and_trials,
    params_text,
    scorer_name,
    settings_for,
)
from training.params import Folds, Split

PROJECT = Path(__file__).parents[3]
N = 2_000


def write(path: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Wild Payments 2024.csv", "wild_payments_2024"),
        ("2024.csv", "scorer_2024"),
        ("金额.csv", "scorer"),
        ("refund.csv", "refund_2"),
        ("transactions.parquet", "transactions_2"),
        ("predict.csv", "predict_2"),
        ("health.csv", "health_2"),
    ],
)
def test_scorer_is_named_after_the_file(file: str, name: str) -> None:
    """The name is valid in params.yaml, and differs from every scorer, route and data file of the repository."""
    declared = read_declarations(PROJECT / PARAMS).scorers
    assert scorer_name(Path(file), declared) == (name, f"/{name}")


def test_block_is_a_valid_declaration(tmp_path: Path, inferred: Callable[..., Inferred]) -> None:
    """The block declares the inferred fields, even if named like words of YAML, and notes the file's columns."""
    file = inferred()
    text = params_text("shop", "/shop", "pay.csv", file, settings_for(file))
    scorer = declared_scorer("shop", write(tmp_path / "params.yaml", text))
    assert scorer.fields == file.fields
    assert list(scorer.fields) == ["amount", "speed", "country", "no"]
    assert (scorer.time, scorer.label, scorer.data) == ("When", "label", "data/shop.parquet")
    assert '# "Amount ($)" in the file' in text


def test_documentation_has_the_limits_of_folds() -> None:
    """docs/data.md states how many rows and cells the folds learn from."""
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    assert f"all rows up to {FOLD_ROWS:,} and {FOLD_CELLS // 1_000_000} million cells" in page


def test_settings_suit_a_small_file(inferred: Callable[..., Inferred]) -> None:
    """A few rows are all used, the folds choose the resampling, and the policy flags what a team can review."""
    settings = settings_for(inferred())
    assert settings["folds"].startswith("{count: 4, validate_share: 0.5, sample: 1}")
    assert settings["resampling"].startswith("{method: auto}   #")
    assert settings["quarantine"] == "{max_share: 0.01}"
    assert settings["model"].startswith("{}")
    assert settings["tuning"] == "{mode: tpe, trials: 10}"


@pytest.mark.parametrize(
    ("one_in", "decision"),
    [
        (20, "{review_rate: 0.05}   # flags at most 5% of the rows, as many as a team could look at; or recall: 0.90"),
        (600, "{review_rate: 0.01}   # flags at most 1% of the rows, because only 0.17% are frauds; or recall: 0.90"),
    ],
)
def test_policy_is_one_that_a_team_can_work_with(one_in: int, decision: str) -> None:
    """At most 5 % of the rows are flagged, fewer if frauds are rare, and an alternative policy is noted."""
    rows = pd.DataFrame({"x": np.arange(24_000) % 7 / 2, "y": np.arange(24_000) % one_in == 0})
    assert settings_for(infer(rows, "y", None))["decision"].startswith(decision)


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "n_frauds", "sample", "trials"),
    [
        (8_000, 10, 100, 1.0, 10),
        (40_000, 300, 200, 0.25, 4),
        (228_000, 29, 240, 0.45, 4),
        (1_400_000, 16, 6_000, 0.11, 4),
        (40_000, 300, 30, 1.0, 3),
        (1_000_000, 300, 60, 0.05, 3),
    ],
    ids=["small", "wide", "cards", "long", "wide with few frauds", "wide, long, with few frauds"],
)
def test_work_of_tuning_is_bounded(n_rows: int, n_columns: int, n_frauds: int, sample: float, trials: int) -> None:
    """Rows, columns and trials are kept within a budget, as long as the first fold has enough frauds."""
    assert _sample_and_trials(n_rows, n_rows * n_columns, n_frauds) == (sample, trials)


@pytest.mark.parametrize(("n_columns", "model"), [(100, "{}"), (101, "{max_bin: 256}")])
def test_wide_files_keep_few_bins(n_columns: int, model: str) -> None:
    """4,096 bins take minutes per trial on hundreds of columns, so these have 256; otherwise the number is searched."""
    values = np.random.default_rng(7).random((N, n_columns))
    rows = pd.DataFrame(values, columns=[f"x{number}" for number in range(n_columns)])
    rows = pd.concat([rows, pd.Series(np.arange(N) % 20 == 0, name="y").astype(int)], axis=1)
    assert settings_for(infer(rows, "y", None))["model"].split("   #")[0] == model


def test_few_frauds_make_fewer_folds() -> None:
    """If four folds would leave one without a fraud, fewer are suggested."""
    rows = pd.DataFrame({"x": np.arange(N) % 7 / 2, "y": 0})
    rows.loc[[10, 20, 700, 1100, 1150, 1190, 1500, 1900], "y"] = 1
    assert settings_for(infer(rows, "y", None))["folds"].startswith("{count: 2")


def test_bad_times_widen_the_quarantine(payments: Callable[..., pd.DataFrame]) -> None:
    """A few rows without a readable time do not stop the try; the block notes their share."""
    rows = payments().astype("str")
    rows.loc[::50, "When"] = "unknown"
    file = infer(rows, 'status == "chargeback"', "When", is_text=True)
    assert settings_for(file)["quarantine"] == "{max_share: 0.05}   # 2.0% of the rows have no readable time"


@given(st.lists(st.integers(1, 120), min_size=2, max_size=12), st.integers(2, 9))
@settings(max_examples=60, deadline=None)
def test_few_different_times_make_folds_or_one_sentence(sizes: list[int], fraud_every: int) -> None:
    """Folds are suggested if each has frauds in the training window; otherwise the error counts the times."""
    times = np.repeat(np.arange(len(sizes)), sizes)
    rows = pd.DataFrame(
        {"month": times, "x": np.arange(len(times)) % 7 / 2, "y": np.arange(len(times)) % fraud_every == 0}
    )
    assume(len(times) > 20)
    try:
        declared = yaml.safe_load(settings_for(infer(rows, "y", "month"))["folds"])
    except DataError as error:
        assert f"TIME is month, which has {len(sizes)} different values (" in str(error)  # noqa: PT017
        return
    seconds, labels = times.astype(float), rows["y"].to_numpy(np.int8)
    split = Split(test=0.2)
    windows = [(seconds >= start) & (seconds < end) for start, end in window_bounds(seconds, split).values()]
    assert all(0 < labels[window].sum() < window.sum() for window in windows)
    folds = prequential_positions(seconds[windows[0]], labels[windows[0]], Folds(**declared), 0.0)
    assert len(folds) == declared["count"]


def test_eight_months_are_enough() -> None:
    """A file whose time is a month's number is accepted: windows and folds are made of whole months."""
    rows = pd.DataFrame(
        {"month": np.arange(8_000) // 1_000, "x": np.arange(8_000) % 7 / 2, "y": np.arange(8_000) % 50 == 0}
    )
    assert settings_for(infer(rows, "y", "month"))["folds"].startswith("{count: 3")


def test_four_years_are_enough_and_two_are_not() -> None:
    """Four times make the fewest folds, two; with fewer, the message says how many there are and how many it takes."""
    rows = pd.DataFrame(
        {"year": 2020 + np.arange(400) // 100, "x": np.arange(400) % 7 / 2, "y": np.arange(400) % 9 == 0}
    )
    assert settings_for(infer(rows, "y", "year"))["folds"].startswith("{count: 2")
    with pytest.raises(
        DataError, match=r"TIME is year, which has 2 different values \(2020-01-01 .* to 2021.*four times"
    ):
        settings_for(infer(rows[:200], "y", "year"))
