"""Proposes history features for the cards, devices and merchants of a user's file: one block for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from handler.scoring.contract import DerivedFeature
from handler.scoring.fields import NUMERIC_TYPES, SECONDS_A_DAY, DeclaredField
from handler.scoring.history import Entity, History, HistoryFeature, Take, seconds_of
from training.data.times import check_time
from training.intake.date_fields import seconds_of_times
from training.intake.field_names import fitting_name
from training.intake.infer import Inferred

# A column names entities if it has many values, each in several rows, and the latest rows repeat earlier values.
FEWEST_VALUES, FEWEST_ROWS_A_VALUE, LEAST_KNOWN, LATEST = 20, 2.0, 0.2, 0.2
LONGEST_KEY = 256
MOST_ENTITIES = 4
COUNTS = ("1h", "24h", "7d", "30d")
MEASURES: tuple[Take, ...] = ("mean", "max")
MEASURED, DISTINCT, RISKS = "30d", "7d", ("7d", "30d", "90d")
TTL = "90d"
# A feature with a window longer than this share of the file's period would tell how far into the file a row is.
LONGEST_SHARE = 0.25
MOST_WARMUP_DAYS, WARMUP_SHARE = 30, 0.1


Wanted = tuple[str, Take, str | None, str | None]
"""The end of a feature's name, its take, window and field."""


@dataclass(frozen=True)
class Block:
    """The past of one entity."""

    name: str
    """The entity, which is also the name of the field of its key."""
    features: dict[str, HistoryFeature]
    derived: dict[str, DerivedFeature]
    """Ratios of a field and a feature of the past."""

    @property
    def names(self) -> set[str]:
        """The names of all features."""
        return {*self.features, *self.derived}


def keys_of(inferred: Inferred) -> list[str]:
    """The columns of texts or codes that name recurring entities: at most four, those with the most values first.

    There are none unless the times are dates, because the features look back over windows of time.
    """
    seconds = seconds_of_times(inferred.rows[inferred.time])
    if seconds is None:
        return []
    order = seconds.dropna().sort_values(kind="stable").index
    first_latest = int(len(order) * (1 - LATEST))
    n_values = {
        name: texts.nunique()
        for name, texts in inferred.texts.items()
        if _come_again(texts, order[:first_latest], order[first_latest:])
    }
    return sorted(n_values, key=lambda name: (-n_values[name], name))[:MOST_ENTITIES]


def _come_again(texts: pd.Series, earlier: pd.Index, latest: pd.Index) -> bool:
    """Whether there are many texts, each in several rows, and those of the latest rows are known from earlier ones."""
    n_values, n_rows = texts.nunique(), texts.count()
    if n_values < FEWEST_VALUES or n_values * FEWEST_ROWS_A_VALUE > n_rows or texts.str.len().max() > LONGEST_KEY:
        return False
    return bool(texts[latest].isin(texts[earlier].dropna().unique()).mean() >= LEAST_KNOWN)


def proposed_blocks(inferred: Inferred, label_delay_days: float) -> list[Block]:
    """A block for each key of a file; with a label delay of a day or more, it includes the key's earlier fraud rate."""
    keys = keys_of(inferred)
    longest = LONGEST_SHARE * _days(inferred) * SECONDS_A_DAY if keys else 0.0
    measure = _measure(inferred.fields)
    taken = {*inferred.fields, *inferred.features, inferred.time, inferred.label, *keys}
    blocks = []
    for key in keys:
        wanted = _wanted([other for other in keys if other != key], measure, has_risks=label_delay_days >= 1)
        features = {
            _name(f"{key}_{name}", taken): HistoryFeature(entity=key, take=take, over=over, field=field)
            for name, take, over, field in wanted
            if over is None or seconds_of(over) <= longest
        }
        means = [name for name, feature in features.items() if feature.take == "mean"]
        ratios = {_name(f"{measure}_to_{mean}", taken): DerivedFeature(ratio=(str(measure), mean)) for mean in means}
        blocks.append(Block(key, features, ratios))
    return blocks


def _wanted(others: Sequence[str], measure: str | None, *, has_risks: bool) -> list[Wanted]:
    """The template of a block: the ends of its features' names, and how they are computed."""
    wanted: list[Wanted] = [
        *((f"count_{over}", "count", over, None) for over in COUNTS),
        ("idle", "since_last", None, None),
    ]
    if measure:
        wanted += [(f"{take}_{MEASURED}", take, MEASURED, measure) for take in MEASURES]
    for other in others:
        wanted += [(f"{other}_{DISTINCT}", "distinct", DISTINCT, other), (f"knows_{other}", "seen", None, other)]
    if has_risks:
        wanted += [(f"risk_{over}", "fraud_rate", over, None) for over in RISKS]
    return wanted


def _name(name: str, taken: set[str]) -> str:
    """A name that is not taken, which is added to those that are."""
    fitting = fitting_name(name, taken)
    taken.add(fitting)
    return fitting


def _measure(fields: Mapping[str, DeclaredField]) -> str | None:
    """The field whose mean and maximum are taken: the first amount of money, else the only number."""
    money = [name for name, field in fields.items() if field.type == "money"]
    numbers = [name for name, field in fields.items() if field.type in NUMERIC_TYPES]
    return money[0] if money else numbers[0] if len(numbers) == 1 else None


def _days(inferred: Inferred) -> float:
    """The days from the first row to the last."""
    return float(np.ptp(check_time(inferred.rows[inferred.time]).dropna())) / SECONDS_A_DAY


def with_history_blocks(inferred: Inferred, blocks: Sequence[Block]) -> Inferred:
    """The file with some of its blocks declared, and their keys as fields."""
    if not blocks:
        return inferred
    features = {name: feature for block in blocks for name, feature in block.features.items()}
    read = {block.name for block in blocks} | {feature.field for feature in features.values()}
    new = [name for name in inferred.texts if name in read and name not in inferred.fields]
    return replace(
        inferred,
        rows=inferred.rows.assign(**{name: inferred.texts[name] for name in new}),
        fields={name: DeclaredField(type="key") for name in new} | inferred.fields,
        features=inferred.features | {name: ratio for block in blocks for name, ratio in block.derived.items()},
        history=History(
            warmup_days=min(MOST_WARMUP_DAYS, int(WARMUP_SHARE * _days(inferred))),
            entities={block.name: Entity(key=block.name, ttl=TTL) for block in blocks},
            features=features,
        ),
    )
