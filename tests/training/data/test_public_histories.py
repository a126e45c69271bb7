"""Histories of the public data sets that have entities equal the fold, and later rows change nothing.

The handbook's own counts and means are also computed by brute force, as the book defines them.
"""

from bisect import bisect_left, bisect_right
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from benchmarks.quality.sets import FOLDER
from handler.scoring.fields import DeclaredField
from handler.scoring.history import DAY, History, history_of
from tests.entity_takes import contract_of
from training.data.folded_sample import require_equal_to_fold
from training.data.past_features import history_columns
from training.data.past_rows import PastRows, Texts

WINDOWS = (1, 7, 30)
# Two months of the handbook's 1.75 million rows, so that each window has ended for most rows.
MOST_ROWS = 600_000


class PublicSet(NamedTuple):
    """A file, its columns and the history that is declared for them."""

    file: str
    time: str
    label: str
    keys: tuple[str, ...]
    measure: tuple[str, str]
    """A number, and the type of its field."""
    label_delay_days: int


SETS = {
    "otc": PublicSet("bitcoin_otc_trust", "time", "rating", ("source", "target"), ("rating", "number"), 1),
    "handbook": PublicSet(
        "handbook_simulated", "TX_TIME_SECONDS", "TX_FRAUD", ("CUSTOMER_ID", "TERMINAL_ID"), ("TX_AMOUNT", "money"), 7
    ),
    "ethereum": PublicSet(
        "ethereum_account_tx_first100", "ts", "is_error", ("account", "counterparty"), ("value_eth", "number"), 2
    ),
}


@cache
def read(name: str) -> tuple[pd.DataFrame, PastRows]:
    """A set's rows in order of time, and as the history reads them; skips the test if the file is missing."""
    public = SETS[name]
    path = FOLDER / f"{public.file}.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is absent, so that nothing was tested on it; BENCHMARK_DATA names its folder")
    rows = pd.read_parquet(path).sort_values(public.time, kind="stable", ignore_index=True)
    label = (rows[public.label] < 0 if name == "otc" else rows[public.label] > 0).to_numpy(np.int8)
    return rows, PastRows(
        rows[public.time].to_numpy(np.float64),
        label,
        {key: Texts.of([pa.array(rows[key].astype(str), pa.string())]) for key in public.keys},
        {public.measure[0]: rows[public.measure[0]].to_numpy(np.float64)},
    )


def declared(name: str) -> tuple[History, dict[str, DeclaredField]]:
    """A history of both keys and of the pair of them, with every kind of feature."""
    (first, other), (measure, kind) = SETS[name].keys, SETS[name].measure
    features: dict[str, Any] = {"pair_count": {"entity": "pair", "take": "count", "over": "90d"}}
    for entity, value in ((first, other), (other, first)):
        of_entity = {
            **{f"count_{days}d": {"take": "count", "over": f"{days}d"} for days in WINDOWS},
            **{f"mean_{days}d": {"take": "mean", "field": measure, "over": f"{days}d"} for days in WINDOWS},
            "count_1h": {"take": "count", "over": "1h"},
            "sum_7d": {"take": "sum", "field": measure, "over": "7d"},
            "max_30d": {"take": "max", "field": measure, "over": "30d"},
            "idle": {"take": "since_last"},
            "age": {"take": "since_first"},
            "others_7d": {"take": "distinct", "field": value, "over": "7d"},
            "known": {"take": "seen", "field": value, "cap": 8},
            "risk_30d": {"take": "fraud_rate", "over": "30d"},
        }
        features |= {f"{entity}_{take}": {"entity": entity, **declaration} for take, declaration in of_entity.items()}
    history = history_of(
        {
            "entities": {first: {"key": first}, other: {"key": other}, "pair": {"key": [first, other]}},
            "features": features,
            "label_delay_days": SETS[name].label_delay_days,
            "usual_fraud_rate": 0.02,
        }
    )
    assert history is not None
    return history, {
        first: DeclaredField(type="key"),
        other: DeclaredField(type="key"),
        measure: DeclaredField(type=kind, unit="USD" if kind == "money" else None),
    }


@pytest.mark.parametrize("name", SETS)
def test_a_public_set_has_the_history_of_the_fold(name: str) -> None:
    """Sampled entities equal the fold, and the first third of the rows has the same features if the file ends there."""
    past, (history, fields) = read(name)[1], declared(name)
    rows = past.at(np.arange(min(len(past.seconds), MOST_ROWS)))
    columns = history_columns(rows, history, fields)
    require_equal_to_fold(rows, contract_of(history, fields), columns, seed=3)
    n_rows = len(rows.seconds) // 3
    for feature, values in history_columns(rows.at(np.arange(n_rows)), history, fields).items():
        np.testing.assert_array_equal(values, columns[feature][:n_rows], err_msg=feature)


def test_the_books_counts_and_means() -> None:
    """Ours are the book's without the own row, and with what lies between the step's border and the book's.

    The book (Le Borgne et al. 2022, chapter 3): a customer's transactions in (t - window, t], the own one included.
    """
    rows, past = read("handbook")
    history, fields = declared("handbook")
    # The first 10,000 of so few customers go over the longest window several times.
    chosen = np.flatnonzero(rows["CUSTOMER_ID"] < 40)[:10_000]
    ours = history_columns(past.at(chosen), history, fields)
    times: dict[int, list[int]] = {}
    cents: dict[int, list[int]] = {}
    n_equal = dict.fromkeys(WINDOWS, 0)
    for number, row in enumerate(rows.iloc[chosen].itertuples()):
        time, cent = int(row.TX_TIME_SECONDS), round(row.TX_AMOUNT * 100)
        earlier, amounts = times.setdefault(row.CUSTOMER_ID, []), cents.setdefault(row.CUSTOMER_ID, [])
        for days in WINDOWS:
            step = {1: 3_600, 7: 6 * 3_600, 30: DAY}[days]
            begin = bisect_right(earlier, time - days * DAY)
            count, total = len(earlier) - begin + 1, sum(amounts[begin:]) + cent
            assert count == getattr(row, f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW")
            mean = getattr(row, f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW")
            assert total / count / 100 == pytest.approx(mean, rel=1e-6)
            # Ours also counts rows between the step's border and the book's,
            # and leaves out the row itself and others of its second.
            border = bisect_left(earlier, (time - days * DAY) // step * step)
            n_same = len(earlier) - bisect_left(earlier, time)
            counted, averaged = ours[f"CUSTOMER_ID_count_{days}d"][number], ours[f"CUSTOMER_ID_mean_{days}d"][number]
            assert counted == count - 1 + (begin - border) - n_same
            if begin == border and not n_same:
                n_equal[days] += 1
                assert averaged == (total - cent) / (100 * counted) if counted else np.isnan(averaged)
        earlier.append(time)
        amounts.append(cent)
    assert number == len(chosen) - 1 == 9_999
    assert [round(n / len(chosen), 2) for n in n_equal.values()] == [0.93, 0.7, 0.51]
