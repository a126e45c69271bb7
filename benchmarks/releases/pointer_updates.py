"""What swaps need: a store of sound and damaged versions, updates of its pointers, and the check of answers."""

import json
import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from pydantic_core import to_json

from benchmarks.command import ROOT
from benchmarks.tables import SCORERS
from benchmarks.variants import write_variant
from handler.releases.swap import load_released
from training.delivery.pointer import update_pointer
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter, open_store_writer, read_current_pointer
from training.run.files import BUNDLES

SHIFTS = (0.0, 0.1, 0.2, 0.3)
UPDATES, DAMAGED = 60, 6
# Requests within this time after an update are reported apart.
AFTER_SECONDS = 0.5
OVERTAKEN_SECONDS = 1.5
VERSION = re.compile(rb'"model_version":"([0-9a-f]{12})"')


Request = tuple[str, bytes]
"""A route and a body."""


@dataclass
class Updates:
    """When each pointer was updated, and when each version first answered, by the clock."""

    sound: list[tuple[float, str]] = field(default_factory=list)
    """When a pointer had been updated, and to which version."""
    damaged: list[tuple[float, str]] = field(default_factory=list)
    answered: list[tuple[float, str]] = field(default_factory=list)
    """When an answer named a version after the one before it had named another."""

    def latencies(self) -> list[float]:
        """Seconds from each update to its first answer; an update that a later one overtook has none."""
        latencies = []
        for updated, version in self.sound:
            later = [ended for ended, other in self.answered if other == version and ended >= updated]
            if later and later[0] - updated < OVERTAKEN_SECONDS:
                latencies.append(later[0] - updated)
        return latencies


@dataclass(frozen=True)
class Versions:
    """A store, and per scorer its sound versions, whose first is current at the start, and its damaged ones."""

    store: FolderStoreWriter
    sound: Mapping[str, list[str]]
    damaged: Mapping[str, list[str]]


def filled_store(folder: Path) -> Versions:
    """A store in a folder, with four sound versions of each scorer and three damaged ones."""
    store = open_store_writer(str(folder / "store"))
    assert isinstance(store, FolderStoreWriter)  # noqa: S101 - for the type checker
    sound: dict[str, list[str]] = {}
    damaged: dict[str, list[str]] = {}
    for name in SCORERS:
        source = ROOT / BUNDLES / name
        versions = [publish(store, source)]
        for shift in SHIFTS[1:]:
            write_variant(source, folder / "variants" / f"{name}-{shift}", shift=shift)
            versions.append(publish(store, folder / "variants" / f"{name}-{shift}"))
        sound[name], damaged[name] = versions, []
        for number in range(DAMAGED // len(SCORERS)):
            version = write_variant(source, folder / "damaged" / f"{name}-{number}", shift=1 + number)
            damaged[name].append(version)
            target = store.root / name / "bundles" / version
            (folder / "damaged" / f"{name}-{number}").rename(target)
            _damage(target / "model.ubj", number)
        update_pointer(store, name, "promote", lambda _, first=versions[0]: {"current": first})
    return Versions(store, sound, damaged)


def _damage(path: Path, number: int) -> None:
    """Flip a bit, truncate the file, or remove it."""
    content = bytearray(path.read_bytes())
    if number % 3 == 0:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif number % 3 == 1:
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()


def expected_answers(versions: Versions) -> dict[Request, dict[str, bytes]]:
    """Per route and request body, each version's answer."""
    expected: dict[Request, dict[str, bytes]] = {}
    for name, sound in versions.sound.items():
        for version in sound:
            scorer = load_released(versions.store, name, version)
            for case in scorer.bundle.golden:
                body = json.dumps(case["request"]).encode()
                answers = expected.setdefault((scorer.contract.route, body), {})
                answers[version] = to_json(scorer.answer(scorer.request_model.model_validate_json(body)))
    return expected


def keep_updating(versions: Versions, seconds: float, updates: Updates, stop: Event) -> None:
    """Update the pointers, scorer after scorer: promotions, rollbacks, and promotions of damaged versions."""
    store, sound, damaged = versions.store, versions.sound, versions.damaged
    names = sorted(sound)
    broken = [(name, version) for name in names for version in damaged[name]]
    every = seconds / (UPDATES + len(broken) + 1)
    rng = random.Random(7)  # noqa: S311 - the same updates at each run
    plan = ["sound"] * UPDATES + ["damaged"] * len(broken)
    rng.shuffle(plan)
    for number, kind in enumerate(plan):
        if stop.wait(every):
            return
        if kind == "damaged":
            name, version = broken.pop()
            update_pointer(store, name, "promote", lambda _, bad=version: {"current": bad})
            updates.damaged.append((time.time(), version))
            continue
        name = names[number % len(names)]
        now, _ = read_current_pointer(store, name)
        served_now = now.current if now and now.current in sound[name] else sound[name][0]
        if number % 3 == 0 and now and now.previous in sound[name] and now.previous != served_now:
            version, action = now.previous, "rollback"
        else:
            version, action = rng.choice([version for version in sound[name] if version != served_now]), "promote"
        update_pointer(
            store, name, action, lambda _, to=version, former=served_now: {"current": to, "previous": former}
        )
        updates.sound.append((time.time(), version))


class Checker:
    """Counts right and wrong answers, and keeps when each came and how long it took."""

    def __init__(self, expected: Mapping[Request, Mapping[str, bytes]], updates: Updates) -> None:
        """Keep every version's answer to every request."""
        self._expected, self._updates = expected, updates
        self.requests = list(expected)
        self._counts = Counter[str]()
        self._ended: list[float] = []
        self._took: list[float] = []
        self._last: dict[str, str] = {}

    def check(self, request: Request, body: bytes, *, is_ok: bool, ended: float, took: float) -> None:
        """Compare one answer with that of the version it names; `took` is in seconds."""
        self._ended.append(ended)
        self._took.append(took)
        named = VERSION.search(body)
        version = named[1].decode() if named else ""
        if not is_ok:
            self._counts["failed"] += 1
        elif self._expected[request].get(version) != body:
            self._counts["wrong"] += 1
        else:
            self._counts["right"] += 1
            if self._last.get(request[0]) != version:
                self._last[request[0]] = version
                self._updates.answered.append((ended, version))

    def figures(self) -> dict[str, Any]:
        """What was counted and measured."""
        updates, ended, took = self._updates, np.array(self._ended), np.array(self._took) * 1000
        is_near = np.zeros(len(ended), dtype=bool)
        for updated, _ in updates.sound + updates.damaged:
            is_near |= (ended >= updated) & (ended <= updated + AFTER_SECONDS)
        swaps = np.array(updates.latencies()) * 1000
        return {
            "answers": len(took),
            **{name: self._counts[name] for name in ("right", "wrong", "failed")},
            "versions that answered": len({version for _, version in updates.answered}),
            "moves": len(updates.sound),
            "moves to a damaged bundle": len(updates.damaged),
            "moves seen": len(swaps),
            "move to first answer ms": {
                "median": round(float(np.median(swaps)), 1),
                "most": round(float(swaps.max()), 1),
            },
            "request ms": _percentiles(took[~is_near]),
            "request ms during swaps": _percentiles(took[is_near]),
        }


def _percentiles(milliseconds: "np.ndarray[Any, Any]") -> dict[str, float]:
    if not len(milliseconds):
        return {}
    named = zip(("p50", "p99", "p99.9"), np.percentile(milliseconds, (50, 99, 99.9)), strict=True)
    return {**{name: round(float(value), 2) for name, value in named}, "most": round(float(milliseconds.max()), 2)}
