"""The synthetic rows: reproducible bytes, the planted patterns, and missing values."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.random import SeedSequence

from training import synthesize
from training.data.past_features import history_columns
from training.data.past_rows import past_rows
from training.data.row_checks import check_rows
from training.declaration import declared_scorer
from training.intake.synthetic.draws import LATE_PATTERN_DAY, START, Drawn, Integers, Population
from training.intake.synthetic.item_catalogue import items
from training.intake.synthetic.refunds import CATEGORIES, CLAIMANTS, draw_refunds
from training.intake.synthetic.transactions import LATE_CHAIN_DAY, PAYERS, draw_transactions

N_ROWS = 60_000
PINNED_TRANSACTIONS = "9997bd2622e15b9decf6ab96772a3e6c7be57ee280120a6ae22675d583299ee2"
PINNED_REFUNDS = "e1e67ec61e23c88a21e458aef6a09b8a76587afea7b673cf812af2322365be40"
COLUMNS = {
    "transactions": {
        "transaction_id": pa.string(),
        "timestamp": pa.timestamp("us"),
        "sender_address": pa.string(),
        "receiver_address": pa.string(),
        "amount_usd": pa.float64(),
        "gas_price": pa.float64(),
        "tx_count_24h": pa.int64(),
        "address_age_days": pa.float64(),
        "avg_tx_value": pa.float64(),
        "chain": pa.string(),
        "token_type": pa.string(),
        "sender_country": pa.string(),
        "is_fraud": pa.int8(),
    },
    "refunds": {
        "refund_id": pa.string(),
        "requested_at": pa.timestamp("us"),
        "account_id": pa.string(),
        "ip_address": pa.string(),
        "years_active": pa.float64(),
        "amount": pa.float64(),
        "ip_accounts": pa.int64(),
        "refunds": pa.int64(),
        "item": pa.string(),
        "is_fraud": pa.int8(),
    },
}
# Bounds of the share of missing values; every other column is complete.
MISSING = {
    "transactions": {
        "gas_price": (0.04, 0.07),
        "tx_count_24h": (0.01, 0.02),
        "address_age_days": (0.025, 0.035),
        "avg_tx_value": (0.1, 0.2),
        "token_type": (0.005, 0.015),
        "sender_country": (0.025, 0.035),
    },
    "refunds": {"refunds": (0.05, 0.07), "item": (0.06, 0.08)},
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Drawn]:
    """Both scorers' rows, enough of them to count rare patterns."""
    return {
        "transactions": draw_transactions(N_ROWS, SeedSequence(1)),
        "refunds": draw_refunds(N_ROWS, SeedSequence(2)),
    }


@pytest.fixture(params=["transactions", "refunds"])
def name(request: pytest.FixtureRequest) -> str:
    """The name of one scorer's rows, each in turn."""
    return str(request.param)


def population_of(name: str) -> Population:
    """The population that the rows are drawn from."""
    return {"transactions": PAYERS, "refunds": CLAIMANTS}[name]


def days_of(table: pa.Table) -> Integers:
    """Whole days since the start, from the second column, which is the time."""
    days: Integers = (table.column(1).to_numpy() - START) // np.timedelta64(1, "D")
    return days


def written(folder: Path) -> dict[str, str]:
    """The digest of each file in the folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_same_bytes_twice(tmp_path: Path) -> None:
    """Two runs write the same three files, byte for byte."""
    for run in ("first", "second"):
        synthesize.synthesize(tmp_path / run, n_transactions=3_000, n_refunds=2_000)
    assert written(tmp_path / "first") == written(tmp_path / "second")
    assert list(written(tmp_path / "first")) == ["item_catalogue.csv", "refunds.parquet", "transactions.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_pinned_rows() -> None:
    """The rows themselves are pinned, so that a change by another processor or library version is noticed."""
    table = draw_transactions(200, SeedSequence(3)).table
    assert hashlib.sha256(table.to_pandas().to_csv(index=False).encode()).hexdigest() == PINNED_TRANSACTIONS
    table = draw_refunds(200, SeedSequence(3)).table
    assert hashlib.sha256(table.to_pandas().to_csv(index=False).encode()).hexdigest() == PINNED_REFUNDS


def test_files_carry_only_the_listed_columns(tmp_path: Path, name: str) -> None:
    """The file has the listed columns and types in this order, and neither metadata nor the segment."""
    synthesize.synthesize(tmp_path / "data", n_transactions=3_000, n_refunds=2_000)
    file = pq.ParquetFile(tmp_path / "data" / f"{name}.parquet")
    schema = file.schema_arrow
    assert dict(zip(schema.names, schema.types, strict=True)) == COLUMNS[name]
    assert schema.names == list(COLUMNS[name])
    assert file.metadata.metadata is None


def test_rows_are_in_order_of_time_over_26_weeks(drawn: dict[str, Drawn], name: str) -> None:
    """Times ascend and cover all 182 days, and no id occurs twice."""
    table = drawn[name].table
    assert pc.count_distinct(table.column(0)).as_py() == N_ROWS
    assert (np.diff(table.column(1).to_numpy()) >= np.timedelta64(0, "us")).all()
    assert np.array_equal(np.unique(days_of(table)), np.arange(182))


def test_fraud_is_rare(drawn: dict[str, Drawn], name: str) -> None:
    """About 1 % of the transactions and 1.5 % of the refunds are labelled fraud.

    A few frauds go unnoticed and a few legitimate rows are reported.
    """
    label = drawn[name].table["is_fraud"].to_numpy()
    assert label.mean() == pytest.approx({"transactions": 0.0103, "refunds": 0.0155}[name], abs=0.002)
    is_legitimate = np.isin(drawn[name].segment, [segment.name for segment in population_of(name).legitimate])
    assert 0.01 < (label[~is_legitimate] == 0).mean() < 0.08
    assert 0.0 < label[is_legitimate].mean() < 0.001


def test_segments_have_their_declared_shares(drawn: dict[str, Drawn], name: str) -> None:
    """Before the late day, each segment's share is the declared one, within four standard deviations."""
    population = population_of(name)
    before = drawn[name].segment[days_of(drawn[name].table) < LATE_PATTERN_DAY]
    segments = population.legitimate + population.fraud
    assert sum(segment.per_100k for segment in segments) == 100_000
    for segment in segments:
        share = segment.per_100k / 100_000
        deviation = (share * (1 - share) / before.size) ** 0.5
        assert (before == segment.name).mean() == pytest.approx(share, abs=4 * deviation), segment.name


def test_late_pattern_appears_only_late(drawn: dict[str, Drawn], name: str) -> None:
    """The late pattern is absent before its day, and 10 to 25 % of the fraud from then on."""
    population, segment = population_of(name), drawn[name].segment
    is_late_day = days_of(drawn[name].table) >= LATE_PATTERN_DAY
    is_late_fraud = np.isin(segment, [late.name for late in population.late_fraud])
    is_fraud = is_late_fraud | np.isin(segment, [fraud.name for fraud in population.fraud])
    assert not is_late_fraud[~is_late_day].any()
    assert 0.10 < is_late_fraud[is_late_day].sum() / is_fraud[is_late_day].sum() < 0.25


def test_late_chain_opens_late(drawn: dict[str, Drawn]) -> None:
    """The new chain is unseen before its day, and legitimate customers use it from then on."""
    rows = drawn["transactions"]
    is_new = np.array(rows.table["chain"].to_pylist()) == "MONAD"
    assert days_of(rows.table)[is_new].min() == LATE_CHAIN_DAY
    assert (rows.segment[is_new] == "everyday").mean() > 0.5


def test_missing_values_stay_within_bounds(drawn: dict[str, Drawn], name: str) -> None:
    """Only the listed columns have missing values, each within its bounds."""
    table = drawn[name].table
    shares = {column: table[column].null_count / N_ROWS for column in table.column_names}
    assert {column for column, share in shares.items() if share} == set(MISSING[name])
    for column, (least, most) in MISSING[name].items():
        assert least < shares[column] < most, column


def test_new_addresses_miss_their_average(drawn: dict[str, Drawn]) -> None:
    """Addresses younger than a day lack their average far more often than others."""
    rows = drawn["transactions"].table.to_pandas()
    is_missing, is_new = rows["avg_tx_value"].isna(), rows["address_age_days"] < 1
    assert is_missing[is_new].mean() > 3 * is_missing[~is_new].mean()


def test_the_columns_are_what_the_declared_history_computes(name: str) -> None:
    """A column that the shipped scorer's history also computes equals it to the last bit, if it is not missing."""
    scorer = declared_scorer({"transactions": "transaction", "refunds": "refund"}[name])
    draw = {"transactions": draw_transactions, "refunds": draw_refunds}[name]
    rows = draw(20_000, SeedSequence(4)).table.to_pandas()
    checked = check_rows(rows, scorer).clean
    assert scorer.history
    history = scorer.history.learned(scorer.split.label_delay_days, 0.01)
    past = past_rows([pa.RecordBatch.from_pandas(checked, preserve_index=False)], history, scorer.time, scorer.label)
    columns = history_columns(past, history, scorer.fields)
    fallbacks = set(columns) & set(scorer.fields)
    assert fallbacks == {"transactions": {"tx_count_24h", "avg_tx_value"}, "refunds": {"ip_accounts"}}[name]
    for column in fallbacks:
        given = rows[column].notna().to_numpy()
        assert np.array_equal(rows[column].to_numpy()[given], columns[column][given]), column
        assert np.unique(columns[column][given]).size > 10, column


def test_fraudsters_pose_as_customers(drawn: dict[str, Drawn]) -> None:
    """Most senders in account takeovers have paid before; senders in bursts of payments are new."""
    rows = drawn["transactions"].table.to_pandas().assign(segment=drawn["transactions"].segment)
    first = rows.groupby("sender_address")["segment"].first()
    senders = {kind: rows.loc[rows["segment"] == kind, "sender_address"].unique() for kind in rows["segment"].unique()}
    assert (first[senders["account_takeover"]] == "everyday").mean() > 0.7
    assert (first[senders["fresh_burst"]] == "fresh_burst").all()


def test_numbers_are_rounded_and_not_negative(drawn: dict[str, Drawn], name: str) -> None:
    """Every float has at most two decimals, and nothing is below zero."""
    # The average is not rounded, so that it equals the history's.
    numbers = (
        drawn[name]
        .table.to_pandas()
        .select_dtypes("number")
        .drop(columns=["is_fraud", "avg_tx_value"], errors="ignore")
    )
    for column, values in numbers.items():
        present = values.dropna()
        assert (present == present.round(2)).all(), column
        assert (present >= 0).all(), column


def test_items_are_written_as_customers_write_them(drawn: dict[str, Drawn]) -> None:
    """Most items have the catalogue's words in any case, but many do not match it literally."""
    names = {name.casefold() for name, _ in items()}
    wordings = drawn["refunds"].table["item"].drop_null().to_pylist()
    verbatim = np.mean([wording.casefold() in names for wording in wordings])
    assert 0.4 < verbatim < 0.8
    assert any(wording.isupper() and len(wording) > 10 for wording in wordings)


def test_catalogue_has_a_dozen_categories_without_duplicates(tmp_path: Path) -> None:
    """The catalogue lists 500 to 800 names once each, in the dozen categories that refunds are drawn from."""
    synthesize.write_catalogue(tmp_path / "items.csv")
    catalogue = pd.read_csv(tmp_path / "items.csv")
    assert list(catalogue.columns) == ["name", "category"]
    assert 500 <= len(catalogue) <= 800
    assert catalogue["name"].str.casefold().is_unique
    assert set(catalogue["category"]) == set(CATEGORIES)
    assert len(CATEGORIES) == 12
    assert b"\r" not in (tmp_path / "items.csv").read_bytes()


def test_docstring_states_the_patterns() -> None:
    """The module's docstring lists every fraud pattern with its share."""
    lines = [line.split() for line in (synthesize.__doc__ or "").splitlines()]
    for population in (PAYERS, CLAIMANTS):
        for segment in population.fraud + population.late_fraud:
            assert [segment.name, str(segment.per_100k)] in [line[:2] for line in lines]


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    """An existing folder is left alone, and the command ends with one line that has a remedy."""
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"exists already; move it, or name another folder with --out\."):
        synthesize.main(["--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
