"""The hot swap: read the store's pointers, load and verify the versions they name, replace one reference.

Under uvicorn a thread looks at the store every few seconds. In Lambda, where nothing runs between invocations, the
invocation that finds a look due starts it in a thread and waits at most its time budget; if that is too short, the
look finishes during later invocations.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from threading import Event, Lock, Thread
from time import perf_counter, time

from handler.records.telemetry import REFUSED, STORE_FAILED, SWAPPED, TROUBLE, StoreMeter
from handler.releases.compatibility import breaking_changes
from handler.releases.served import Slot
from handler.releases.shadow import Shadow
from handler.releases.signature import is_signed, signature_name
from handler.releases.store import Pointer, Store, StoreError, read_bundle, read_pointer
from handler.scoring.bundle import MANIFEST, BundleError, parse_bundle
from handler.scoring.contract import Contract
from handler.scoring.scorer import Scorer, servable_scorer

Position = tuple[int, str | None, str | None, str | None]

logger = logging.getLogger(__name__)


class Watcher:
    """Keeps the slots of an application at the versions that a store's pointers name."""

    def __init__(  # noqa: PLR0913 - all but two by keyword
        self,
        store: Store,
        slots: Mapping[str, Slot],
        *,
        seconds: float,
        public_keys: tuple[bytes, ...] = (),
        meter: StoreMeter | None = None,
        lists_key: bytes = b"",
    ) -> None:
        """Watch a store for these slots (by scorer), and look at it every `seconds` seconds.

        With public keys, only versions and lists signed by one of them are served. `lists_key` is the key with which
        the values of lists are hashed.
        """
        self._lists_key = lists_key
        self._store, self._slots, self._seconds = store, slots, seconds
        self._public_keys, self._meter = public_keys, meter
        self.counts = Counter[str]()
        """How often a version was swapped in or refused, and how often the store could not be read."""
        self.refused: dict[str, str] = {}
        """By scorer, why a version that its pointer names is refused."""
        self.unreadable: dict[str, str] = {}
        """By scorer, why its pointer, or a version that it names, cannot be read."""
        self._followed: dict[str, Position] = {}
        self._refused_versions: dict[str, tuple[Position, set[str]]] = {}
        """By scorer, the pointer's position, and the versions refused at that position."""
        self._looked_at = 0.0
        self._looking = Lock()
        self._thread: Thread | None = None
        self._is_loading = False
        self._stopped = Event()

    def look(self) -> None:
        """Bring every slot to the versions its pointer names. Failures are counted and logged, never raised."""
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
        """Start a look if one is due, and wait at most `budget_seconds` for it.

        While a look loads a new version, every caller waits up to its budget, so that loading finishes even if
        requests are rare and the process is frozen between them. While the store is merely slow, only the caller that
        started the look waits, and any caller with `is_patient`.
        """
        if self._thread is not None and self._thread.is_alive():
            if self._is_loading or is_patient:
                self._thread.join(budget_seconds)
            return
        # Measured by the wall clock, which advances while a snapshot waits to be restored, but may also be set back.
        if 0 <= time() - self._looked_at < self._seconds:
            return
        self._thread = Thread(target=self.look, name="store", daemon=True)
        self._thread.start()
        self._thread.join(budget_seconds)

    def start(self) -> None:
        """Look every few seconds, in a background thread."""
        self._stopped.clear()
        Thread(target=self._keep_looking, name="store", daemon=True).start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopped.set()

    def use_key(self, lists_key: bytes) -> None:
        """Look up the values of lists with this key from now on; if it is new, what was refused is tried again."""
        if lists_key != self._lists_key:
            self._lists_key = lists_key
            self._followed.clear()
            self._refused_versions.clear()

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
            if pointer.position != self._followed.get(name):
                self._follow(slot, pointer)
                self._followed[name] = pointer.position
        except StoreError as error:
            self._record_failure(name, str(error))
        except Exception as error:  # noqa: BLE001 - the thread's edge: no failure may end it
            self._record_failure(name, f"{type(error).__name__}: {error}")
        else:
            if self.unreadable.pop(name, None):
                logger.warning("%s: the store can be read again", name)
        if self._meter and (name in self.refused or name in self.unreadable):
            # At every look, so that an alarm lasts as long as the trouble.
            self._meter.record(name, TROUBLE)

    def _follow(self, slot: Slot, pointer: Pointer) -> None:
        """Load the versions that a pointer names into its slot; a version that is refused leaves the current one."""
        name = pointer.scorer
        if self._refused_versions.get(name, (None,))[0] != pointer.position:
            self._refused_versions[name] = (pointer.position, set())
            self.refused.pop(name, None)
        if pointer.current and pointer.current != (before := slot.served.scorer.version):
            start = perf_counter()
            if scorer := self._loaded(slot, name, pointer.current):
                slot.served = replace(slot.served, scorer=scorer)
                self._count(name, SWAPPED)
                # As a warning, because Lambda shows no lower level.
                milliseconds = (perf_counter() - start) * 1000
                logger.warning("%s: now serving %s instead of %s (%.0f ms)", name, scorer.version, before, milliseconds)
        shadow, former = None, slot.served.shadow
        if pointer.action == "lists" and former and former.version == pointer.shadow:
            # This update changed only the lists, so the shadow keeps its strikes.
            shadow = former
        elif pointer.shadow and (scorer := self._loaded(slot, name, pointer.shadow)):
            shadow = Shadow(scorer)
        slot.served = replace(slot.served, shadow=shadow)
        self._follow_lists(slot, pointer)

    def _follow_lists(self, slot: Slot, pointer: Pointer) -> None:
        """Load the lists that a pointer names; if they are refused, the former ones stay."""
        name, served = pointer.scorer, slot.served
        if pointer.lists is None:
            if served.lists:
                logger.warning("%s: now serving without lists; the last ones were %s", name, served.lists.version)
            slot.served = replace(served, lists=None)
            return
        if pointer.lists in self._refused_versions[name][1]:
            return
        from handler.releases.lists import Lists, ListsError, read_lists  # noqa: PLC0415 - needed with lists only

        try:
            file = read_lists(self._store, name, pointer.lists, self._public_keys, self._lists_key)
        except ListsError as error:
            self._refuse(name, pointer.lists, str(error))
            return
        if served.lists and file.serial < served.lists.serial:
            self._refuse(
                name, pointer.lists, f"lists {pointer.lists} are older than {served.lists.version}, which are in use"
            )
            return
        # Prepared anew for the model's fields, which a swap may have changed.
        slot.served = replace(served, lists=Lists(pointer.lists, file, served.scorer.contract, self._lists_key))
        if served.lists is None or served.lists.version != pointer.lists:
            self._count(name, SWAPPED)
            logger.warning("%s: now serving with lists %s (%d entries)", name, pointer.lists, len(file.entries))

    def _loaded(self, slot: Slot, name: str, version: str) -> Scorer | None:
        """A released version, verified; None if it is refused, which is counted and logged once."""
        if version in self._refused_versions[name][1]:
            return None
        self._is_loading = True
        try:
            return load_released(self._store, name, version, promised=slot.promised, public_keys=self._public_keys)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bundle causes, it is refused and the current version serves on
            reason = str(error) if isinstance(error, BundleError) else f"{type(error).__name__}: {error}"
            self._refuse(name, version, reason)
            return None

    def _refuse(self, name: str, version: str, reason: str) -> None:
        self.refused[name] = f"{self.refused[name]}; {reason}" if name in self.refused else reason
        self._refused_versions[name][1].add(version)
        self._count(name, REFUSED)
        logger.error("%s: %s is refused: %s", name, version, reason)

    def _record_failure(self, name: str, reason: str) -> None:
        """Count each failure; log it once, until the reason changes."""
        self._count(name, STORE_FAILED)
        if self.unreadable.get(name) != reason:
            logger.error("%s: %s; still serving %s", name, reason, self._slots[name].served.scorer.version)
        self.unreadable[name] = reason

    def _count(self, name: str, metric: str) -> None:
        self.counts[metric] += 1
        if self._meter:
            self._meter.record(name, metric)


def load_released(
    store: Store, name: str, version: str, *, promised: Contract | None = None, public_keys: tuple[bytes, ...] = ()
) -> Scorer:
    """A released version of a scorer, after every check: hashes, signature, contract, golden cases.

    `promised` is the contract that it must keep, if any. Raises BundleError if it must not be served, StoreError if it
    cannot be read.
    """
    where = f"{store}/{name}/bundles/{version}"
    signatures = {signature_name(key): key for key in public_keys}
    contents = read_bundle(store, name, version, tuple(signatures))
    if public_keys and not any(
        file in contents and is_signed(contents[MANIFEST], contents[file], key) for file, key in signatures.items()
    ):
        raise BundleError(f"{where} is not signed by a trusted key; it needs a valid {' or '.join(signatures)}")
    bundle = parse_bundle(contents, where)
    if (bundle.scorer, bundle.version) != (name, version):
        raise BundleError(
            f"{where} contains version {bundle.version} of {bundle.scorer}, not version {version} of {name}"
        )
    if promised and (changes := breaking_changes(promised, bundle.contract)):
        raise BundleError(f"{where} breaks the contract: {'; '.join(changes)}")
    return servable_scorer(bundle, where)
