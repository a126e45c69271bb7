"""A history proposed for a user's file: the columns that are keys, and the template of their features."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from handler.scoring.fields import SECONDS_A_DAY
from training.data.split import prequential_positions, window_bounds
from training.data.times import check_time
from training.declaration import declared_scorer
from training.errors import DataError
from training.intake.infer import Inferred, infer
from training.intake.proposed_history import keys_of, proposed_blocks, with_history_blocks
from training.intake.suggested_params import params_text, settings_for
from training.try_file import with_folds

N = 2_000


def payments(days: float = 200) -> pd.DataFrame:
    """Rows with columns that are keys, and others that each have one reason not to be."""
    rng = np.random.default_rng(5)
    row = np.arange(N)
    rows = pd.DataFrame(
        {
            "paid_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(row * days / N, unit="D"),
            "card": "c" + pd.Series(rng.integers(300, size=N)).astype(str).str.zfill(4),
            "merchant_id": 1_000 + rng.integers(40, size=N),
            "amount": np.round(rng.lognormal(3, 1, N), 2),
            "receipt": "r" + pd.Series(row).astype(str).str.zfill(6),
            "channel": np.array(["web", "shop", "phone"])[rng.integers(3, size=N)],
            # Four rows each, one right after the other: later rows never share a value with earlier ones.
            "basket": "b" + pd.Series(row // 4).astype(str).str.zfill(6),
            "is_fraud": (rng.random(N) < 0.05).astype(int),
        }
    )
    rows.loc[::50, "card"] = None
    return rows


def inferred_payments(days: float = 200) -> Inferred:
    """The same rows as inferred data of a scorer."""
    return infer(payments(days), "is_fraud", "paid_at")


def test_keys_are_values_that_come_again() -> None:
    """Ids of single rows, categories of a few values, and values that never come again later are no keys."""
    assert keys_of(inferred_payments()) == ["card", "merchant_id"]


def test_without_dates_there_are_no_keys() -> None:
    """Features of a history have windows of time, which row numbers and steps do not give."""
    rows = payments().drop(columns="paid_at")
    assert keys_of(infer(rows, "is_fraud", None)) == []
    assert keys_of(infer(rows.assign(step=np.arange(N) // 3), "is_fraud", "step")) == []


def test_the_template_has_counts_amounts_and_the_others() -> None:
    """A key has counts, the gap, mean and largest amounts, their ratio, and features of the other keys."""
    card, merchant = proposed_blocks(inferred_payments(), label_delay_days=0)
    assert list(card.features) == [
        "card_count_1h",
        "card_count_24h",
        "card_count_7d",
        "card_count_30d",
        "card_idle",
        "card_mean_30d",
        "card_max_30d",
        "card_merchant_id_7d",
        "card_knows_merchant_id",
    ]
    assert card.features["card_mean_30d"].field == "amount"
    assert card.derived["amount_to_card_mean_30d"].ratio == ("amount", "card_mean_30d")
    assert merchant.features["merchant_id_card_7d"].take == "distinct"


def test_risks_need_a_label_delay() -> None:
    """How often a key was defrauded is only known once the labels are."""
    takes = {feature.take for block in proposed_blocks(inferred_payments(), 0.5) for feature in block.features.values()}
    assert "fraud_rate" not in takes
    card, _ = proposed_blocks(inferred_payments(), 1)
    risks = [feature.over for feature in card.features.values() if feature.take == "fraud_rate"]
    # Without 90d, which would be nearly half of the file's 200 days.
    assert risks == ["7d", "30d"]


def test_windows_are_short_beside_the_file() -> None:
    """A window that reaches back to the first row would only measure the age of the file."""
    card, _ = proposed_blocks(inferred_payments(days=5), label_delay_days=0)
    assert [feature.over for feature in card.features.values() if feature.take == "count"] == ["1h", "24h"]
    assert card.derived == {}


@pytest.mark.parametrize(
    ("kept", "entity", "keys"),
    [(["card", "merchant_id"], "card", {"card", "merchant_id"}), (["merchant_id"], None, {"card", "merchant_id"})],
    ids=["both", "the category"],
)
def test_blocks_become_a_declaration(kept: list[str], entity: str | None, keys: set[str], tmp_path: Path) -> None:
    """The written block declares the keys, the history and its ratios; rows are grouped by the first key."""
    inferred = inferred_payments()
    blocks = [block for block in proposed_blocks(inferred, 0) if block.name in kept]
    chosen = with_history_blocks(inferred, blocks)
    # A merchant is also a category, because most of the 40 have enough rows to be learned.
    assert chosen.fields["card"].type == "key"
    assert chosen.fields["merchant_id"].type == "category"
    assert keys <= set(chosen.rows)
    assert chosen.rows["card"].isna().sum() == N // 50
    (tmp_path / "params.yaml").write_text(params_text("pay", "/pay", "pay.csv", chosen, settings_for(chosen)))
    declared = declared_scorer("pay", tmp_path / "params.yaml")
    assert declared.history
    assert declared.history == chosen.history
    assert list(declared.history.entities) == kept
    assert declared.history.warmup_days == 19
    assert declared.entity == entity


def test_nothing_kept_changes_nothing() -> None:
    """Without a kept block, the file is unchanged."""
    inferred = inferred_payments()
    assert with_history_blocks(inferred, []) is inferred


def with_fraud_days(*days: tuple[int, int]) -> Inferred:
    """Payments of a hundred days; in the given periods (first and last day), every seventh is a fraud."""
    rows = payments(days=100)
    day, is_seventh = np.arange(N) * 100 / N, np.arange(N) % 7 == 0
    is_fraud = is_seventh & np.logical_or.reduce([(day >= first) & (day < last) for first, last in days])
    return infer(rows.assign(is_fraud=is_fraud.astype(int)), "is_fraud", "paid_at")


def test_folds_are_those_of_the_rows_after_the_warm_up(tmp_path: Path) -> None:
    """Frauds of the warm-up, which the history learns from but no model does, are in no fold."""
    inferred = with_fraud_days((0, 8), (60, 100))
    blocks, settings = with_folds(inferred, proposed_blocks(inferred, 0), 0)
    chosen = with_history_blocks(inferred, blocks)
    (tmp_path / "params.yaml").write_text(params_text("pay", "/pay", "pay.csv", chosen, settings))
    scorer = declared_scorer("pay", tmp_path / "params.yaml")
    assert scorer.history
    rows = chosen.rows.assign(paid_at=check_time(chosen.rows["paid_at"])).sort_values("paid_at", ignore_index=True)
    seconds = rows["paid_at"].to_numpy()
    end = window_bounds(seconds, scorer.split)["train"][1]
    window = rows[(seconds >= seconds[0] + scorer.history.warmup_days * SECONDS_A_DAY) & (seconds < end)]
    folds = prequential_positions(window["paid_at"].to_numpy(), window["is_fraud"].to_numpy(), scorer.folds, 0)
    assert len(folds) == scorer.folds.count
    # The rows that `compare` recalibrates on have frauds too.
    assert all(window["is_fraud"].to_numpy()[block[: len(block) // 2]].any() for _, block in folds)
    # Without a history, those first frauds are in the folds.
    assert settings["folds"] != settings_for(inferred)["folds"]


def test_without_folds_after_the_warm_up_no_history_is_tried(capsys: pytest.CaptureFixture[str]) -> None:
    """The try continues without a history and says so; a file without folds either way is refused."""
    inferred = with_fraud_days((0, 8), (67, 100))
    blocks, settings = with_folds(inferred, proposed_blocks(inferred, 0), 0)
    assert (blocks, settings) == ([], settings_for(inferred))
    printed = capsys.readouterr().out
    assert printed.startswith(
        "no history of card, merchant_id is tried: it needs the first rows, and without these there are frauds"
    )
    assert printed.count("\n") == 1
    inferred = with_fraud_days((0, 8), (85, 100))
    with pytest.raises(DataError, match="have 23 frauds at too few times"):
        with_folds(inferred, proposed_blocks(inferred, 0), 0)
