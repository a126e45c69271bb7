"""Updates of a scorer's pointer: promote through the gate, roll back, set a shadow. Every former pointer is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from handler.releases.compatibility import breaking_changes
from handler.releases.store import MAX_POINTER_BYTES, POINTER_FORMAT, Pointer, PointerError, parse_pointer, pointer_key
from handler.releases.swap import load_released
from handler.scoring.bundle import BundleError
from handler.scoring.contract import Contract
from training.data.times import utc_now
from training.declaration import declared_scorer
from training.delivery.contenders import best_former, unseeing, warn_of_former
from training.delivery.gate import judge_challenger, require_prepared_columns
from training.delivery.gate_verdict import GateVerdict
from training.delivery.own_past import with_own_past
from training.delivery.served_history import missing_past
from training.delivery.serving import released_scorer
from training.delivery.store_writer import StoreWriter, read_current_pointer, store_json
from training.errors import StageError
from training.run.files import BUILD
from training.run.progress import say
from training.run.provenance import person

Change = Callable[[Pointer | None], dict[str, Any]]

_TO_FORCE = "To do it anyway, set FORCE='a reason'; the reason is recorded"


class RefusedError(StageError):
    """Raised when the gate refuses a version, or cannot tell; `verdict` says why."""

    def __init__(self, version: str, verdict: GateVerdict) -> None:
        """Keep the verdict."""
        unknown = "the gate cannot tell: " if verdict.kind == "cannot tell" else ""
        reasons = "; ".join(verdict.reasons)
        super().__init__(f"{version} is not promoted: {unknown}{reasons}. {_TO_FORCE}")
        self.verdict = verdict


def read_history(store: StoreWriter, scorer: str) -> list[Pointer]:
    """A scorer's pointers, the former ones and the present one, in the order of their updates."""
    present, _ = read_current_pointer(store, scorer)
    pointers = {pointer.serial: pointer for pointer in (*_former(store, scorer), *([present] if present else []))}
    return [pointers[serial] for serial in sorted(pointers)]


def _former(store: StoreWriter, scorer: str) -> list[Pointer]:
    keys = [f"{scorer}/history/{name}" for name in store.names(f"{scorer}/history")]
    return [parse_pointer(store.read(key, MAX_POINTER_BYTES), scorer, f"{store}/{key}") for key in keys]


def update_pointer(store: StoreWriter, scorer: str, action: str, change: Change, *, is_forced: bool = False) -> Pointer:
    """Update a pointer and return it; `change` gives the keys that differ from the pointer before.

    Raises StageError if another writer updated the pointer since it was read, or if it is damaged. With `is_forced`, a
    damaged pointer is replaced, and the latest one of the history counts as the pointer before.
    """
    former = _former(store, scorer)
    try:
        before, seen = read_current_pointer(store, scorer)
    except PointerError as error:
        if not is_forced:
            raise StageError(f"{error}; set VERSION= and FORCE='a reason' to replace it") from error
        before, seen = (former[-1] if former else None), store.read(pointer_key(scorer), MAX_POINTER_BYTES)
    last = max([*(pointer.serial for pointer in former), before.serial if before else 0])
    pointer = Pointer.model_validate(
        {
            "format": POINTER_FORMAT,
            "scorer": scorer,
            # Higher than the serials in the history, too, because a pointer may have been lost.
            "serial": last + 1,
            "current": before and before.current,
            "previous": before and before.previous,
            "shadow": before and before.shadow,
            "lists": before and before.lists,
            "action": action,
            "at": utc_now(),
            "by": person(),
            "reason": None,
            "gate": None,
            **change(before),
        }
    )
    # The former pointer is kept before it is replaced, so a crash in between loses no update.
    if before and seen and before.serial not in {pointer.serial for pointer in former}:
        store.put_new(f"{scorer}/history/{before.serial:06d}.json", seen)
    store.exchange_pointer(scorer, store_json(pointer.model_dump(mode="json")), seen)
    return pointer


def promote(store: StoreWriter, scorer: str, version: str, rows: Path, *, force: str | None = None) -> Pointer:
    """Make a version the current one and the former current one the previous; returns the pointer.

    Raises RefusedError if the gate objects or cannot tell, or if the version's past is not loaded (`missing_past`). A
    reason given as `force` overrules this and is kept.
    """
    is_lost, before = False, None
    try:
        before, _ = read_current_pointer(store, scorer)
    except PointerError:
        is_lost = True
    if before and before.current == version:
        raise StageError(f"{version} is current already")
    verdict = verdict_on(store, scorer, before, version, rows)
    if before and before.current and (missing := _missing_past(store, scorer, before.current, version)):
        verdict = GateVerdict(verdict.measured, (*verdict.objections, missing), verdict.doubts)
    say(json.dumps(verdict.measured.content(), indent=1))
    if verdict.reasons and not force:
        raise RefusedError(version, verdict)
    said = {"file": str(rows), "objections": verdict.objections, "doubts": verdict.doubts}
    gate = verdict.measured.model_copy(update=said).content()

    def change(now: Pointer | None) -> dict[str, Any]:
        if _models_of(now) != _models_of(before) and not is_lost:
            raise StageError("the pointer was updated while the gate ran; promote again")
        # If the gate agrees, nothing was forced.
        reason = force if verdict.reasons else None
        return {**_with_current(now, version), "reason": reason, "gate": gate}

    return update_pointer(store, scorer, "promote", change, is_forced=bool(force))


def roll_back(store: StoreWriter, scorer: str, version: str | None = None, *, force: str | None = None) -> Pointer:
    """Make the previous version, or the named one, the current one; returns the pointer.

    Raises StageError if there is none, or if its contract would break callers of the current one. A reason given as
    `force` overrules the latter and is kept.
    """

    def change(now: Pointer | None) -> dict[str, Any]:
        target = version or (now.previous if now else None)
        if now is None or now.current is None or target is None:
            raise StageError(f"{scorer} has no previous version to go back to; `make releases` lists what there is")
        if target == now.current:
            raise StageError(f"{target} is current already")
        offered = released_scorer(store, scorer, target).contract
        broken = _broken(store, scorer, now.current, offered)
        if broken and not force:
            raise StageError(
                f"{target} does not keep what {now.current} promises: {'; '.join(broken)}. A function deployed with "
                f"the newer contract would refuse it. {_TO_FORCE}"
            )
        # Not the version that is rolled back from, or the next rollback would restore it.
        served = [pointer.previous for pointer in history if pointer.current == target]
        earlier = (version for version in reversed(served) if version != now.current)
        previous = next(earlier, None) if served else now.current
        return {**_with_current(now, target), "previous": previous, "reason": force}

    try:
        history = read_history(store, scorer)
    except PointerError:
        history = _former(store, scorer)
    return update_pointer(store, scorer, "rollback", change, is_forced=bool(force and version))


def set_shadow(store: StoreWriter, scorer: str, version: str | None) -> Pointer:
    """Make a version the shadow, or with None remove the shadow; returns the pointer."""

    def change(now: Pointer | None) -> dict[str, Any]:
        if version:
            if now and version == now.current:
                raise StageError(f"{version} is current, so it cannot be the shadow too")
            released_scorer(store, scorer, version)
        return {"shadow": version}

    return update_pointer(store, scorer, "shadow", change)


def _models_of(pointer: Pointer | None) -> tuple[str | None, ...]:
    """The versions on which a gate's verdict depends, without the lists, which may change while it runs."""
    return (pointer.current, pointer.previous, pointer.shadow) if pointer else ()


def _with_current(now: Pointer | None, version: str) -> dict[str, Any]:
    """The keys that change when a version becomes current; a version is never its own shadow."""
    if now is None:
        return {"current": version}
    return {"current": version, "previous": now.current, "shadow": None if now.shadow == version else now.shadow}


def _missing_past(store: StoreWriter, scorer: str, current: str, version: str) -> str | None:
    """The objection to a version whose past is not loaded; None if it is, or if the current version is damaged."""
    try:
        served = load_released(store, scorer, current).contract
    except BundleError:
        return None
    return missing_past(scorer, served, released_scorer(store, scorer, version).contract)


def _broken(store: StoreWriter, scorer: str, current: str, offered: Contract) -> list[str]:
    """What callers of the current version would lose; nothing, with a warning, if that version is damaged."""
    try:
        return breaking_changes(load_released(store, scorer, current).contract, offered)
    except BundleError as error:
        say(f"WARNING: the contracts were not compared: {error}")
        return []


def verdict_on(store: StoreWriter, scorer: str, before: Pointer | None, version: str, rows: Path) -> GateVerdict:
    """The gate's verdict before a pointer update: a released version against the current one, on rows in Parquet."""
    declared = declared_scorer(scorer)
    released, champion, lost = released_scorer(store, scorer, version), None, []
    try:
        window = pd.read_parquet(rows)
    except (OSError, ValueError) as error:
        raise StageError(
            f"the gate's rows, {rows}, cannot be read: {error}; they must be a Parquet file, such as "
            f"{BUILD / scorer / 'rows' / 'test.parquet'}, which `make train` writes"
        ) from error
    require_prepared_columns(window, released, declared)
    first = float(window[declared.time].min())
    challenger = unseeing(store, released, first)
    if before and before.current:
        try:
            champion = unseeing(store, load_released(store, scorer, before.current), first)
        except (BundleError, StageError) as error:
            lost.append(f"there is no champion to compare with: {error}")
    others = (version, before.current if before else None)
    former = best_former(store, scorer, [*_former(store, scorer), *([before] if before else [])], first, others)
    challenger = with_own_past(challenger, challenger.scorer.contract, window, rows, declared)
    if champion:
        champion = with_own_past(champion, challenger.scorer.contract, window, rows, declared)
    if former:
        try:
            former = with_own_past(former, challenger.scorer.contract, window, rows, declared)
        except StageError as error:
            warn_of_former(former.version, str(error))
            former = None
    compared = f", compared with {others[1]}" if champion else ""
    say(f"{scorer}: {version}{compared}, on {len(window):,} rows of {rows}")
    verdict = judge_challenger(champion, challenger, window, declared, former)
    measured = verdict.measured
    if challenger.scorer is not released:
        say(f"{scorer}: {version} has learned from these rows, so its twin {challenger.scorer.version} is judged")
        measured = measured.model_copy(update={"judged_by": challenger.scorer.version})
    return GateVerdict(measured, (*lost, *verdict.objections), verdict.doubts)
