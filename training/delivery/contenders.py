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

# The windows that a model has not learned from when it is judged; all others determine its trees, its calibration or
# its threshold.
UNLEARNED = ("test", "refit")


@dataclass(frozen=True)
class Contender:
    """A released version, and the model that the gate judges it by: its own, or its twin's."""

    version: str
    scorer: Scorer
    past: pd.DataFrame | None = None
    """The features of its own history, by row number; None if the rows already have them."""


def unseeing(store: StoreWriter, scorer: Scorer, first: float) -> Contender:
    """The version judged by its own model, or by its twin's if a refit has learned from rows that begin at `first`.

    If times are steps rather than dates, this cannot be decided, and the twin is taken. Raises StageError if the twin
    is not released.
    """
    refit = scorer.bundle.manifest["windows"].get("refit")
    if refit is None or (first >= EARLIEST_DATE and not _begins_before(first, refit["to"])):
        return Contender(scorer.version, scorer)
    return Contender(scorer.version, released_scorer(store, scorer.bundle.scorer, refit["judged_by"]))


def overlap_with(contender: Contender, first: float) -> str | None:
    """The end of a sentence saying that a contender has learned from rows that begin at `first`; None if it has not.

    Only windows that determine its trees, calibration or threshold count. If times are steps rather than dates, this
    cannot be decided, and the answer is None.
    """
    windows = contender.scorer.bundle.manifest["windows"]
    ends: list[str] = [window["to"] for name, window in windows.items() if name not in UNLEARNED]
    end = max(ends, key=text_timestamp)
    if not _begins_before(first, end):
        return None
    return f"has learned from rows of this window, which begins {timestamp_text(first)}; its own rows end {end}"


def _begins_before(first: float, end: str) -> bool:
    """Whether rows that begin at `first` begin before `end`; never if times are steps rather than dates."""
    return EARLIEST_DATE <= first < text_timestamp(end)


def best_former(
    store: StoreWriter, scorer: str, history: Sequence[Pointer], first: float, others: Sequence[str | None]
) -> Contender | None:
    """The best release so far according to the last promotion's gate, to be judged on rows that begin at `first`.

    None if no gate has named one yet, if it is one of the `others`, which are judged anyway, if it cannot be loaded, or
    if it has learned from the rows.
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
    say(f"WARNING: {version}, the best release so far, is left out of the comparison: {reason}")
