"""Suggested parameters: settings that suit a file, and the block that declares them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from training.data.split import prequential_positions, window_bounds
from training.declaration import declared_scorer
from training.errors import DataError
from training.intake.infer import Inferred, infer
from training.intake.suggested_params import params_text, settings_for
from training.params import Folds, Split

N = 2_000


def write(path: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_block_is_a_valid_declaration(tmp_path: Path, inferred: Callable[..., Inferred]) -> None:
    """What is written declares the inferred fields, names that are words of YAML among them, and names the columns."""
    file = inferred()
    text = params_text("shop", "/shop", "pay.csv", file, settings_for(file))
    scorer = declared_scorer("shop", write(tmp_path / "params.yaml", text))
    assert scorer.fields == file.fields
    assert list(scorer.fields) == ["amount", "speed", "country", "no"]
    assert (scorer.time, scorer.label, scorer.data) == ("When", "label", "data/shop.parquet")
    assert '# "Amount ($)" in the file' in text


def test_settings_suit_a_small_file(inferred: Callable[..., Inferred]) -> None:
    """Few rows are all used, and resampled with SMOTE."""
    settings = settings_for(inferred())
    assert settings["folds"].startswith("{count: 4, validate_share: 0.5, sample: 1}")
    assert settings["resampling"] == "{method: smote, ratio: 0.1}"
    assert settings["quarantine"] == "{max_share: 0.01}"


@pytest.mark.parametrize(
    ("n", "fraud_rate", "why"),
    [(2_000, 0.2, "no smote: 2"), (2_000, 0.02, "in the first fold, too few to have neighbours")],
)
def test_smote_only_where_it_works(n: int, fraud_rate: float, why: str, inferred: Callable[..., Inferred]) -> None:
    """Where SMOTE cannot help, the block says none, and why."""
    resampling = settings_for(inferred(n, fraud_rate))["resampling"]
    assert resampling.startswith("{method: none}   # no smote: ")
    assert why in resampling


def test_large_files_are_not_resampled() -> None:
    """Where SMOTE would take long, the block says none."""
    rows = pd.DataFrame({"x": np.arange(210_000) % 7 / 2, "y": np.arange(210_000) % 50 == 0})
    settings = settings_for(infer(rows, "y", None))
    assert "210,000 rows" in settings["resampling"]
    assert "sample: 0.19}" in settings["folds"]


def test_categories_alone_are_not_resampled(payments: Callable[..., pd.DataFrame]) -> None:
    """SMOTE needs a number."""
    rows = payments()[["country", "status"]]
    assert "numeric field" in settings_for(infer(rows, 'status == "chargeback"', None))["resampling"]


def test_wide_files_are_not_resampled() -> None:
    """Among hundreds of fields neighbours mean little, and fewer trials must do."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(N, 120)), columns=[f"x{number}" for number in range(120)])
    settings = settings_for(infer(rows.assign(y=rng.random(N) < 0.05), "y", None))
    assert "120 fields" in settings["resampling"]
    assert settings["tuning"] == "{mode: tpe, trials: 6}"


def test_few_frauds_make_fewer_folds() -> None:
    """Where four folds would leave one without a fraud, there are fewer."""
    rows = pd.DataFrame({"x": np.arange(N) % 7 / 2, "y": 0})
    rows.loc[[10, 20, 700, 1100, 1150, 1190, 1500, 1900], "y"] = 1
    assert settings_for(infer(rows, "y", None))["folds"].startswith("{count: 2")


def test_bad_times_widen_the_quarantine(payments: Callable[..., pd.DataFrame]) -> None:
    """Rows without a readable time stop no try, as long as they are few; the block says how many there are."""
    rows = payments().astype("str")
    rows.loc[::50, "When"] = "unknown"
    file = infer(rows, 'status == "chargeback"', "When", is_text=True)
    assert settings_for(file)["quarantine"] == "{max_share: 0.05}   # 2.0% of the rows have no readable time"


@given(st.lists(st.integers(1, 120), min_size=2, max_size=12), st.integers(2, 9))
@settings(max_examples=60, deadline=None)
def test_few_different_times_make_folds_or_one_sentence(sizes: list[int], fraud_every: int) -> None:
    """The folds are those of the window that is cut for training, and all have frauds; else it says how many times."""
    times = np.repeat(np.arange(len(sizes)), sizes)
    rows = pd.DataFrame(
        {"month": times, "x": np.arange(len(times)) % 7 / 2, "y": np.arange(len(times)) % fraud_every == 0}
    )
    assume(len(times) > 20)
    try:
        declared = yaml.safe_load(settings_for(infer(rows, "y", "month"))["folds"])
    except DataError as error:
        assert f"TIME is month, which has {len(sizes)} different values; rows of one time stay together" in str(error)  # noqa: PT017
        return
    seconds, labels = times.astype(float), rows["y"].to_numpy(np.int8)
    split = Split(test=0.2)
    windows = [(seconds >= start) & (seconds < end) for start, end in window_bounds(seconds, split).values()]
    assert all(0 < labels[window].sum() < window.sum() for window in windows)
    folds = prequential_positions(seconds[windows[0]], labels[windows[0]], Folds(**declared), 0.0)
    assert len(folds) == declared["count"]


def test_eight_months_are_enough() -> None:
    """A file with a month's number for its time is tried: whole months make the windows and the folds."""
    rows = pd.DataFrame(
        {"month": np.arange(8_000) // 1_000, "x": np.arange(8_000) % 7 / 2, "y": np.arange(8_000) % 50 == 0}
    )
    assert settings_for(infer(rows, "y", "month"))["folds"].startswith("{count: 3")
