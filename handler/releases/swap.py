"""The hot swap: look at the store's pointers, load and prove what they name, exchange one reference.

Under uvicorn a thread looks every few seconds. In Lambda, where nothing runs between invocations, the invocation that
finds a look due starts it in a thread, and waits for it no longer than its budget; a later one lets it finish.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from threading import Event, Lock, Thread
from time import perf_counter, time

from handler.records.telemetry import REFUSED, STORE_FAILED, SWAPPED, TROUBLE, StoreMeter
from handler.releases.compatibility import broken_promises
from handler.releases.served import Served, Slot
from handler.releases.shadow import Shadow
from handler.releases.signature import is_signed, signature_name
from handler.releases.store import Pointer, Store, StoreError, read_bundle, read_pointer
from handler.scoring.bundle import MANIFEST, BundleError, parse_bundle
from handler.scoring.contract import Contract
from handler.scoring.scorer import Scorer, answering_scorer

Position = tuple[int, str | None, str | None]

logger = logging.getLogger(__name__)


class Watcher:
    """Keeps the slots of an application at what the pointers of a store name."""

    def __init__(
        self,
        store: Store,
        slots: Mapping[str, Slot],
        *,
        seconds: float,
        public_keys: tuple[bytes, ...] = (),
        meter: StoreMeter | None = None,
    ) -> None:
        """Watch a store for these slots, by scorer, with so many seconds between two looks.

        With public keys, only what one of them signed is served.
        """
        self._store, self._slots, self._seconds = store, slots, seconds
        self._public_keys, self._meter = public_keys, meter
        self.counts = Counter[str]()
        """How often something was swapped, refused, or not to be read from the store."""
        self.refused: dict[str, str] = {}
        """Per scorer why what its pointer names is not served."""
        self.unreadable: dict[str, str] = {}
        """Per scorer why its pointer, or what it names, cannot be read."""
        self._seen: dict[str, Position] = {}
        self._given_up: dict[str, tuple[Position, set[str]]] = {}
        """Per scorer where its pointer stands, and what of that was refused."""
        self._looked_at = 0.0
        self._looking = Lock()
        self._thread: Thread | None = None
        self._is_loading = False
        self._stopped = Event()

    def look(self) -> None:
        """Bring every slot to what its pointer names. What cannot be had is counted and told; nothing is raised."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            self._looked_at = time()
            for name, slot in self._slots.items():
                self._look_at(name, slot)
        finally:
            self._is_loading = False
            self._looking.release()

    def look_if_due(self, budget_seconds: float, *, is_patient: bool = False) -> None:
        """Look, if the last look is long enough ago, and wait for it no longer than the budget.

        Whoever comes while a new version is being loaded waits as long, so that it is loaded even where requests are
        rare and the process is frozen between them; while a store is only slow, nobody waits but who began the look,
        and who is patient.
        """
        if self._thread is not None and self._thread.is_alive():
            if self._is_loading or is_patient:
                self._thread.join(budget_seconds)
            return
        # By the wall clock, which goes on while a snapshot waits to be restored. It may also be set back.
        if 0 <= time() - self._looked_at < self._seconds:
            return
        self._thread = Thread(target=self.look, name="store", daemon=True)
        self._thread.start()
        self._thread.join(budget_seconds)

    def start(self) -> None:
        """Look every few seconds, in a thread of its own."""
        self._stopped.clear()
        Thread(target=self._keep_looking, name="store", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    @property
    def seconds_since_look(self) -> float:
        """How long ago the last look began."""
        return time() - self._looked_at

    def _keep_looking(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.look()

    def _look_at(self, name: str, slot: Slot) -> None:
        try:
            pointer = read_pointer(self._store, name)
            if pointer.position != self._seen.get(name):
                self._follow(slot, pointer)
                self._seen[name] = pointer.position
        except StoreError as error:
            self._cannot_read(name, str(error))
        except Exception as error:  # noqa: BLE001 - the thread's edge: no look may end it
            self._cannot_read(name, f"{type(error).__name__}: {error}")
        else:
            if self.unreadable.pop(name, None):
                logger.warning("%s: the store can be read again", name)
        if self._meter and (name in self.refused or name in self.unreadable):
            # At every look, so that an alarm rings as long as it lasts.
            self._meter.record(name, TROUBLE)

    def _follow(self, slot: Slot, pointer: Pointer) -> None:
        """Exchange what a slot serves for what its pointer names, and keep what serves where that is refused."""
        name = pointer.scorer
        if self._given_up.get(name, (None,))[0] != pointer.position:
            self._given_up[name] = (pointer.position, set())
            self.refused.pop(name, None)
        if pointer.current and pointer.current != (before := slot.served.scorer.version):
            start = perf_counter()
            if scorer := self._loaded(slot, name, pointer.current):
                slot.served = Served(scorer, slot.served.shadow)
                self._count(name, SWAPPED)
                # Not at a lower level, which Lambda does not show.
                milliseconds = (perf_counter() - start) * 1000
                logger.warning("%s: %s serves now, not %s (%.0f ms)", name, scorer.version, before, milliseconds)
        shadow = None
        if pointer.shadow and (scorer := self._loaded(slot, name, pointer.shadow)):
            shadow = Shadow(scorer)
        slot.served = Served(slot.served.scorer, shadow)

    def _loaded(self, slot: Slot, name: str, version: str) -> Scorer | None:
        """A released version, proven; None where it is refused, which is counted and told once."""
        if version in self._given_up[name][1]:
            return None
        self._is_loading = True
        try:
            return load_released(self._store, name, version, promised=slot.promised, public_keys=self._public_keys)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bundle provokes, it is refused and the old one serves
            why = str(error) if isinstance(error, BundleError) else f"{type(error).__name__}: {error}"
            self.refused[name] = f"{self.refused[name]}; {why}" if name in self.refused else why
            self._given_up[name][1].add(version)
            self._count(name, REFUSED)
            logger.error("%s: %s is refused: %s", name, version, why)  # noqa: TRY400 - the sentence says it all
            return None

    def _cannot_read(self, name: str, why: str) -> None:
        """Count each failure, tell of it once."""
        self._count(name, STORE_FAILED)
        if self.unreadable.get(name) != why:
            logger.error("%s: %s; %s serves on", name, why, self._slots[name].served.scorer.version)
        self.unreadable[name] = why

    def _count(self, name: str, what: str) -> None:
        self.counts[what] += 1
        if self._meter:
            self._meter.record(name, what)


def load_released(
    store: Store, name: str, version: str, *, promised: Contract | None = None, public_keys: tuple[bytes, ...] = ()
) -> Scorer:
    """A version that a store holds of a scorer, after all that can be checked was: hashes, signature, golden cases.

    `promised` is the contract that it has to keep, if any. Raises BundleError where it may not be served, StoreError
    where it cannot be read.
    """
    where = f"{store}/{name}/bundles/{version}"
    signatures = {signature_name(key): key for key in public_keys}
    contents = read_bundle(store, name, version, tuple(signatures))
    if public_keys and not any(
        file in contents and is_signed(contents[MANIFEST], contents[file], key) for file, key in signatures.items()
    ):
        raise BundleError(f"{where} is not signed by a key that is trusted here ({', '.join(signatures)})")
    bundle = parse_bundle(contents, where)
    if (bundle.scorer, bundle.version) != (name, version):
        raise BundleError(f"{where} holds version {bundle.version} of {bundle.scorer}")
    if promised and (broken := broken_promises(promised, bundle.contract)):
        raise BundleError(f"{where} breaks the contract: {'; '.join(broken)}")
    return answering_scorer(bundle, where)
