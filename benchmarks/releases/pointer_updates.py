"""A store of sound and damaged versions, whose pointers are updated while requests are answered."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from benchmarks.command import ROOT
from benchmarks.tables import SCORERS
from benchmarks.variants import write_variant
from training.delivery.pointer import update_pointer
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter, read_current_pointer
from training.run.files import BUNDLES

SHIFTS = (0.0, 0.1, 0.2, 0.3)
UPDATES, DAMAGED = 60, 6

Update = tuple[float, str, bool]
"""When a pointer was updated, to which version, and whether that version is sound."""


@dataclass(frozen=True)
class Versions:
    """A store, each scorer's sound versions, the first of which is current at the start, and the damaged versions."""

    store: FolderStoreWriter
    sound: dict[str, list[str]]
    damaged: list[tuple[str, str]]
    """Scorer and version."""


def filled_store(folder: Path) -> Versions:
    """A store in a folder, with four sound versions of each scorer and three damaged ones."""
    store = FolderStoreWriter(folder / "store")
    versions = Versions(store, {name: [] for name in SCORERS}, [])
    for name, sound in versions.sound.items():
        for shift in SHIFTS:
            variant = folder / f"{name}-{shift}"
            write_variant(ROOT / BUNDLES / name, variant, shift=shift)
            sound.append(publish(store, variant))
        update_pointer(store, name, "promote", lambda _, first=sound[0]: {"current": first})
        for number in range(DAMAGED // len(SCORERS)):
            variant = folder / f"{name}-damaged-{number}"
            version = write_variant(ROOT / BUNDLES / name, variant, shift=1 + number)
            versions.damaged.append((name, version))
            _damage(variant.rename(store.root / name / "bundles" / version) / "model.ubj", number)
    return versions


def _damage(path: Path, number: int) -> None:
    """Flip a bit, truncate the file, or remove it."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if number < 2:  # noqa: PLR2004 - the third is removed
        path.write_bytes(content if number == 0 else content[: len(content) // 2])


@contextmanager
def updating(versions: Versions, seconds: float) -> Iterator[list[Update]]:
    """Update pointers during the block, evenly over `seconds`, mostly to sound versions; gives the updates so far."""
    updates, stop = list[Update](), Event()
    thread = Thread(target=_keep_updating, args=(versions, seconds, updates, stop))
    thread.start()
    try:
        yield updates
    finally:
        stop.set()
        thread.join()


def _keep_updating(versions: Versions, seconds: float, updates: list[Update], stop: Event) -> None:
    """Promote and roll back sound versions, scorer after scorer, and promote damaged ones, in a random order."""
    damaged = list(versions.damaged)
    rng = random.Random(7)  # noqa: S311 - the same updates at each run
    plan = [True] * UPDATES + [False] * DAMAGED
    rng.shuffle(plan)
    for number, is_sound in enumerate(plan):
        if stop.wait(seconds / (len(plan) + 1)):
            return
        if is_sound:
            name = SCORERS[number % len(SCORERS)]
            version = _update(versions, name, rng, may_roll_back=number % 3 == 0)
        else:
            name, version = damaged.pop()
            update_pointer(versions.store, name, "promote", lambda _, bad=version: {"current": bad})
        updates.append((time.time(), version, is_sound))


def _update(versions: Versions, name: str, rng: random.Random, *, may_roll_back: bool) -> str:
    """Update a scorer's pointer to a sound version other than the one served, and return that version."""
    sound, (now, _) = versions.sound[name], read_current_pointer(versions.store, name)
    served = now.current if now and now.current in sound else sound[0]
    version, action = rng.choice([version for version in sound if version != served]), "promote"
    if may_roll_back and now and now.previous in sound and now.previous != served:
        version, action = now.previous, "rollback"
    update_pointer(versions.store, name, action, lambda _: {"current": version, "previous": served})
    return version
