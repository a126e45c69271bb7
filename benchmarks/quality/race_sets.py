"""The sets of the race: rows in order of time, with the columns that a user would have at hand, and no ids."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.command import ROOT
from benchmarks.quality.handbook import FIRST_DAY
from benchmarks.quality.sets import declared_set, existing, set_path
from training.data.row_reader import read_columns
from training.declaration import declared_scorer

# Six and a half weeks of the handbook's days: as many as AutoGluon can learn from within its time limit.
HANDBOOK_DAYS = ("2018-07-01", "2018-08-14")


@dataclass(frozen=True)
class RacedSet:
    """A set's rows in order of time, and which of their columns are the label and the time."""

    rows: pd.DataFrame
    label: str
    time: str


def raced(rows: pd.DataFrame, label: str, time: str) -> RacedSet:
    """The rows in order of time, without duplicates, which `make try` drops too."""
    return RacedSet(rows.drop_duplicates().sort_values(time, kind="stable", ignore_index=True), label, time)


def ulb() -> RacedSet:
    """Real card payments of two days."""
    return raced(pd.read_parquet(set_path("ulb_creditcard.parquet")), "Class", "Time")


def handbook() -> RacedSet:
    """Simulated card payments of some days, with the handbook's own features."""
    scorer, rows = declared_set("handbook")
    rows[scorer.time] = FIRST_DAY + pd.to_timedelta(rows[scorer.time], unit="s")
    first, last = map(pd.Timestamp, HANDBOOK_DAYS)
    rows = rows[rows[scorer.time].between(first, last + pd.Timedelta(days=1), inclusive="left")]
    return raced(rows.drop(columns=str(scorer.entity)), scorer.label, scorer.time)


def bitcoin() -> RacedSet:
    """Ratings among traders; a negative one is the label, and the features summarise both traders' earlier ratings."""
    ratings = pd.read_parquet(set_path("bitcoin_otc_trust.parquet")).sort_values("time", kind="stable")
    histories = {
        "rater_gave": earlier_ratings(ratings, "source", "source"),
        "rater_received": earlier_ratings(ratings, "source", "target"),
        "rated_gave": earlier_ratings(ratings, "target", "source"),
        "rated_received": earlier_ratings(ratings, "target", "target"),
    }
    features = pd.concat([history.add_prefix(f"{name}_") for name, history in histories.items()], axis="columns")
    rated_at = pd.to_datetime(ratings["time"], unit="s").dt.floor("s")
    is_bad = (ratings["rating"] < 0).astype("int8")
    return raced(features.assign(rated_at=rated_at, is_bad=is_bad), "is_bad", "rated_at")


def earlier_ratings(ratings: pd.DataFrame, trader: str, role: str) -> pd.DataFrame:
    """Per rating, the number, mean and share of bad ones of the earlier ratings in which its trader had the role.

    Both arguments name a column, `source` or `target`. Without earlier ratings, mean and share are missing.
    """
    values = pd.DataFrame({"n": 1.0, "mean": ratings["rating"], "bad_share": ratings["rating"] < 0}).astype(float)
    places = np.arange(len(ratings))
    sums = values.groupby(ratings[role]).cumsum().assign(trader=ratings[role], place=places)
    traders = pd.DataFrame({"trader": ratings[trader], "place": places})
    earlier = pd.merge_asof(traders, sums, on="place", by="trader", allow_exact_matches=False)
    shares = earlier[["mean", "bad_share"]].div(earlier["n"], axis="index")
    return shares.assign(n=earlier["n"].fillna(0.0)).set_axis(ratings.index, axis="index")


def shipped(name: str) -> RacedSet:
    """The synthetic rows of a shipped scorer, without ids and keys."""
    scorer = declared_scorer(name, ROOT / "params.yaml")
    path = existing(ROOT / scorer.data, "run `make data`")
    columns = [scorer.time, *(name for name in scorer.fields if name not in scorer.keys), scorer.label]
    return raced(read_columns(path, columns), scorer.label, scorer.time)


SETS: dict[str, Callable[[], RacedSet]] = {
    "ulb": ulb,
    "handbook": handbook,
    "bitcoin": bitcoin,
    "transaction": lambda: shipped("transaction"),
    "refund": lambda: shipped("refund"),
}
