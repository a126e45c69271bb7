"""The released versions that the gate compares: each judged by a model that has not seen the rows."""

from collections.abc import Sequence

from handler.releases.store import Pointer, StoreError
from handler.releases.swap import load_released
from handler.scoring.bundle import BundleError
from handler.scoring.scorer import Scorer
from handler.settings import SETTINGS
from training.data.times import EARLIEST_DATE
from training.delivery.gate import begins_before
from training.delivery.store_writer import StoreWriter
from training.errors import StageError
from training.run.progress import say


def released_scorer(store: StoreWriter, scorer: str, version: str) -> Scorer:
    """A released version, as a function with this environment's STORE_PUBLIC_KEY would take it.

    Raises StageError where there is none, and what `load_released` raises where it may not serve.
    """
    if version not in (versions := store.names(f"{scorer}/bundles")):
        released = f"released are {', '.join(versions)}" if versions else "none is released yet"
        raise StageError(f"{scorer} has no released version {version!r}; {released} (`make release`)")
    return load_released(store, scorer, version, public_keys=SETTINGS.store_public_key)


def unseeing(store: StoreWriter, scorer: Scorer, first: float) -> Scorer:
    """The scorer, or where a refit has learned from rows that begin at `first`, its twin, which has not.

    Where time is a step and no date nobody can tell, and the twin is taken. Raises StageError where it is not released.
    """
    refit = scorer.bundle.manifest["windows"].get("refit")
    if refit is None or (first >= EARLIEST_DATE and not begins_before(first, refit["to"])):
        return scorer
    return released_scorer(store, scorer.bundle.scorer, refit["judged_by"])


def best_former(
    store: StoreWriter, scorer: str, history: Sequence[Pointer], first: float, others: Sequence[str | None]
) -> Scorer | None:
    """The best release so far by the last promotion's gate, to be judged by rows that begin at `first`.

    None where no gate has named one yet, where it is among the `others` that are judged anyway, or cannot be loaded.
    """
    version = next(
        (pointer.gate["best"] for pointer in reversed(history) if pointer.gate and "best" in pointer.gate), None
    )
    if version is None or version in others:
        return None
    try:
        return unseeing(store, released_scorer(store, scorer, version), first)
    except (BundleError, StageError, StoreError) as error:
        say(f"WARNING: nothing was compared with {version}, the best release so far: {error}")
        return None
