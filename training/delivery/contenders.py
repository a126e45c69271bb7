"""The released versions that the gate compares: each judged by a model that has not seen the rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from handler.releases.store import Pointer, StoreError
from handler.scoring.bundle import BundleError
from handler.scoring.scorer import Scorer
from training.data.times import EARLIEST_DATE, text_timestamp, timestamp_text
from training.delivery.serving import released_scorer
from training.delivery.store_writer import StoreWriter
from training.errors import StageError
from training.run.progress import say

# The windows that a model has not learned from when it is judged; all others choose its trees, its calibration or its
# threshold.
UNLEARNED = ("test", "refit")


@dataclass(frozen=True)
class Contender:
    """A released version, and the model that the gate judges it by: its own, or its twin's."""

    version: str
    scorer: Scorer
    past: pd.DataFrame | None = None
    """By the number of the row the features of its own history; None where the rows have them already."""


def unseeing(store: StoreWriter, scorer: Scorer, first: float) -> Contender:
    """The version judged by itself, or where a refit has learned from rows that begin at `first`, by its twin.

    Where time is a step and no date nobody can tell, and the twin is taken. Raises StageError where it is not released.
    """
    refit = scorer.bundle.manifest["windows"].get("refit")
    if refit is None or (first >= EARLIEST_DATE and not _begins_before(first, refit["to"])):
        return Contender(scorer.version, scorer)
    return Contender(scorer.version, released_scorer(store, scorer.bundle.scorer, refit["judged_by"]))


def overlap_with(contender: Contender, first: float) -> str | None:
    """That a contender has learned from rows that begin at `first`, as the end of a sentence; None where it has not.

    What its trees, calibration or threshold come from counts. Where time is a step and no date nobody can tell.
    """
    windows = contender.scorer.bundle.manifest["windows"]
    ends: list[str] = [window["to"] for name, window in windows.items() if name not in UNLEARNED]
    end = max(ends, key=text_timestamp)
    if not _begins_before(first, end):
        return None
    return f"has learned from rows of this window, which begins {timestamp_text(first)}; its own rows end {end}"


def _begins_before(first: float, end: str) -> bool:
    """Whether rows from a timestamp on begin before or at a time; never where time is a step and no date."""
    return EARLIEST_DATE <= first < text_timestamp(end)


def best_former(
    store: StoreWriter, scorer: str, history: Sequence[Pointer], first: float, others: Sequence[str | None]
) -> Contender | None:
    """The best release so far by the last promotion's gate, to be judged by rows that begin at `first`.

    None where no gate has named one yet, where it is among the `others` that are judged anyway, where it cannot be
    loaded, or has learned from the rows.
    """
    version = next(
        (pointer.gate["best"] for pointer in reversed(history) if pointer.gate and "best" in pointer.gate), None
    )
    if version is None or version in others:
        return None
    try:
        former = unseeing(store, released_scorer(store, scorer, version), first)
    except (BundleError, StageError, StoreError) as error:
        warn_of_former(version, str(error))
        return None
    if overlap := overlap_with(former, first):
        warn_of_former(version, f"it {overlap}")
        return None
    return former


def warn_of_former(version: str, reason: str) -> None:
    """Say that the best release so far is left out, and why."""
    say(f"WARNING: nothing was compared with {version}, the best release so far: {reason}")
