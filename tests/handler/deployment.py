"""A store with other versions of refund's bundle, and the slot and the watcher that follow its pointer."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from handler.releases.served import Slot
from handler.releases.store import Store, bundle_key
from handler.releases.swap import Watcher
from training.delivery.pointer import update_pointer
from training.delivery.store_writer import FolderStoreWriter

BUNDLES = Path(__file__).parents[2] / "build" / "bundles"
PATIENCE_SECONDS = 20


def is_looking() -> bool:
    """Whether any watcher's thread is alive."""
    return any(thread.name == "store" for thread in threading.enumerate())


def wait_until(condition: Callable[[], object]) -> None:
    """Return once a condition holds."""
    end = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < end, "the condition never holds"
        sleep(0.005)


class ObservedStore:
    """A store that lists the keys that were read, and whose reads can be blocked."""

    def __init__(self, store: Store) -> None:
        """Read from another store, without blocking."""
        self._store = store
        self.keys: list[str] = []
        self.held = ""
        """Reads of keys with this suffix block until `go_on` is set."""
        self.is_waiting, self.go_on = Event(), Event()

    def __str__(self) -> str:
        """The other store's address."""
        return str(self._store)

    def read(self, key: str, limit: int) -> bytes:
        """List the key, block if it has the held suffix, then read from the other store."""
        self.keys.append(key)
        if self.held and key.endswith(self.held):
            self.is_waiting.set()
            assert self.go_on.wait(PATIENCE_SECONDS), "the read was never released"
        return self._store.read(key, limit)


@dataclass
class Deployment:
    """A deployment of refund: the packaged version serves until `look` makes the watcher swap in another one."""

    writer: FolderStoreWriter
    store: ObservedStore
    slot: Slot
    watcher: Watcher

    def folder(self, version: str) -> Path:
        """The folder of a released version."""
        return self.writer.root / bundle_key("refund", version, "")

    def release(self, **changes: Any) -> str:  # noqa: ANN401 - the arguments of write_variant
        """Put another version into the store, as `write_variant` makes it; returns the version."""
        from benchmarks.variants import write_variant  # noqa: PLC0415 - takes 1.5 s, and few tests need it

        unnamed = self.folder(uuid4().hex)
        version = write_variant(BUNDLES / "refund", unnamed, **changes)
        unnamed.rename(self.folder(version))
        return version

    def point(self, **changes: str | None) -> None:
        """Update the pointer: the given fields change, the others stay."""
        update_pointer(self.writer, "refund", "promote", lambda _: dict(changes))

    def promote(self, **changes: Any) -> str:  # noqa: ANN401 - as above
        """Release another version and make it the current one; returns the version."""
        version = self.release(**changes)
        self.point(current=version)
        return version

    def look(self, n_times: int = 1) -> None:
        """Have the watcher look at the store."""
        for _ in range(n_times):
            self.watcher.look()

    @property
    def served_version(self) -> str:
        """The version that answers."""
        return self.slot.served.scorer.version

    @property
    def shadow_version(self) -> str | None:
        """The version in the shadow, if there is one."""
        return self.slot.served.shadow.version if self.slot.served.shadow else None
