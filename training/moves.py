"""Moves of a scorer's pointer: promote through the gate, roll back, set a shadow. Every former pointer is kept."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from handler.compatibility import broken_promises
from handler.store import MAX_POINTER_BYTES, POINTER_FORMAT, Pointer, parse_pointer, pointer_key
from handler.swap import load_released
from training.declaration import declared_scorer
from training.gate import Verdict, judge
from training.origin import person
from training.progress import say
from training.shelf import Shelf, read_if_there
from training.stage import StageError

Change = Callable[[Pointer | None], dict[str, Any]]


class MoveError(StageError):
    """Raised when a pointer cannot be moved so, or the gate refuses it."""


def read_position(shelf: Shelf, scorer: str) -> tuple[Pointer | None, bytes | None]:
    """A scorer's pointer, and its bytes as they were seen; None where it has none yet."""
    key = pointer_key(scorer)
    seen = read_if_there(shelf, key, MAX_POINTER_BYTES)
    return (None if seen is None else parse_pointer(seen, scorer, f"{shelf}/{key}")), seen


def read_history(shelf: Shelf, scorer: str) -> list[Pointer]:
    """A scorer's pointers, the former ones and the present one, in the order of the moves."""
    keys = [f"{scorer}/history/{name}" for name in shelf.names(f"{scorer}/history")]
    former = [parse_pointer(shelf.read(key, MAX_POINTER_BYTES), scorer, f"{shelf}/{key}") for key in keys]
    present, _ = read_position(shelf, scorer)
    moves = {pointer.serial: pointer for pointer in (*former, *([present] if present else []))}
    return [moves[serial] for serial in sorted(moves)]


def move(shelf: Shelf, scorer: str, action: str, change: Change) -> Pointer:
    """The pointer after a move, of which `change` gives the keys that differ from the pointer before.

    Raises ShelfError where somebody else moved it meanwhile.
    """
    before, seen = read_position(shelf, scorer)
    pointer = Pointer.model_validate(
        {
            "format": POINTER_FORMAT,
            "scorer": scorer,
            "serial": before.serial + 1 if before else 1,
            "current": before and before.current,
            "previous": before and before.previous,
            "shadow": before and before.shadow,
            "action": action,
            "at": utc_now(),
            "by": person(),
            "reason": None,
            "gate": None,
            **change(before),
        }
    )
    # Before the pointer changes: whatever happens in between, no move is lost.
    if before and seen:
        shelf.put_new(f"{scorer}/history/{before.serial:06d}.json", seen)
    shelf.exchange_pointer(scorer, as_json(pointer.model_dump(mode="json")), seen)
    return pointer


def promote(shelf: Shelf, scorer: str, version: str, rows: Path, *, force: str | None = None) -> Pointer:
    """The pointer after a version became the current one, and the former the previous.

    Raises MoveError where the gate objects; a reason given as `force`, which is kept, overrules it.
    """
    before, _ = read_position(shelf, scorer)
    if before and before.current == version:
        raise MoveError(f"{version} is current already")
    verdict = _verdict(shelf, scorer, before, version, rows)
    say(json.dumps(verdict.measured, indent=1))
    if verdict.objections and not force:
        objections = "; ".join(verdict.objections)
        raise MoveError(f"{version} is not promoted: {objections}. FORCE='a reason' overrules this, and is kept")
    gate = {"rows": str(rows), **verdict.measured, "objections": verdict.objections}

    def change(now: Pointer | None) -> dict[str, Any]:
        if now != before:
            raise MoveError("the pointer was moved while the gate was judging; promote again")
        # Without objections there was nothing to force.
        reason = force if verdict.objections else None
        return {**_with_current(now, version), "reason": reason, "gate": gate}

    return move(shelf, scorer, "promote", change)


def roll_back(shelf: Shelf, scorer: str, version: str | None = None, *, force: str | None = None) -> Pointer:
    """The pointer after the previous version, or the one that is named, became current again.

    Raises MoveError where there is none, or where callers would lose what the current one promises; a reason given as
    `force` is kept, and overrules the latter.
    """

    def change(now: Pointer | None) -> dict[str, Any]:
        target = version or (now.previous if now else None)
        if now is None or now.current is None or target is None:
            raise MoveError(f"{scorer} has no previous version to go back to; `make releases` lists what there is")
        if target == now.current:
            raise MoveError(f"{target} is current already")
        promised, offered = (load_released(shelf, scorer, one).contract for one in (now.current, target))
        broken = broken_promises(promised, offered)
        if broken and not force:
            raise MoveError(
                f"{target} does not keep what {now.current} promises: {'; '.join(broken)}. A function deployed with "
                "the newer contract would refuse it. FORCE='a reason' moves the pointer all the same"
            )
        return {**_with_current(now, target), "reason": force}

    return move(shelf, scorer, "rollback", change)


def set_shadow(shelf: Shelf, scorer: str, version: str | None) -> Pointer:
    """The pointer after a version, or with None no version, became the shadow."""

    def change(now: Pointer | None) -> dict[str, Any]:
        if version:
            if now and version == now.current:
                raise MoveError(f"{version} is current; it would be its own shadow")
            load_released(shelf, scorer, version)
        return {"shadow": version}

    return move(shelf, scorer, "shadow", change)


def _with_current(now: Pointer | None, version: str) -> dict[str, Any]:
    """What changes where a version becomes current; none is in its own shadow."""
    if now is None:
        return {"current": version}
    return {"current": version, "previous": now.current, "shadow": None if now.shadow == version else now.shadow}


def _verdict(shelf: Shelf, scorer: str, before: Pointer | None, version: str, rows: Path) -> Verdict:
    declared = declared_scorer(scorer)
    challenger = load_released(shelf, scorer, version)
    champion = load_released(shelf, scorer, before.current) if before and before.current else None
    try:
        window = pd.read_parquet(rows)
    except (OSError, ValueError) as error:
        raise MoveError(f"{rows}, by which the gate judges, cannot be read: {error}") from error
    beside = f" beside {champion.version}" if champion else ""
    say(f"{scorer}: {version}{beside}, on {len(window):,} rows of {rows}")
    return judge(champion, challenger, window, declared)


def as_json(content: dict[str, Any]) -> bytes:
    """What a store keeps, for machines and for who opens it."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def utc_now() -> str:
    """The present second, in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
