"""The hot swap: the slots follow the pointers, whatever the store does meanwhile.

Versions that must not serve are in test_refusals.py.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread, Timer
from time import monotonic, sleep
from typing import Any

import pytest

from handler.records.telemetry import REFUSED, STORE_FAILED, SWAPPED, TROUBLE, StoreMeter
from handler.releases.served import Slot
from handler.releases.store import Pointer, Store, bundle_key, pointer_key
from handler.releases.swap import Watcher
from handler.scoring.scorer import Scorer, load_scorer
from training.delivery.store_writer import FolderStoreWriter

REQUEST = b'{"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 20}'
POINTER = pointer_key("refund")
PATIENCE_SECONDS = 20


class Watched:
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
        """As the other store has it."""
        self.keys.append(key)
        if self.held and key.endswith(self.held):
            self.is_waiting.set()
            assert self.go_on.wait(PATIENCE_SECONDS), "the read was never released"
        return self._store.read(key, limit)


def is_looking() -> bool:
    """Whether any watcher's thread is alive."""
    return any(thread.name == "store" for thread in threading.enumerate())


def wait_until(condition: Callable[[], object]) -> None:
    """Return once a condition holds."""
    end = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < end, "the condition never holds"
        sleep(0.005)


@pytest.fixture
def store(store_writer: FolderStoreWriter) -> Iterator[Watched]:
    """The store, with its reads listed; none stays blocked after the test."""
    watched = Watched(store_writer)
    yield watched
    watched.go_on.set()
    wait_until(lambda: not is_looking())


@pytest.fixture
def slot(refund: Scorer) -> Slot:
    """The slot of refund, where the packaged version serves."""
    return Slot(refund)


@pytest.fixture
def watcher(store: Watched, slot: Slot) -> Watcher:
    """A watcher of that slot that looks only on request."""
    return Watcher(store, {"refund": slot}, seconds=3600)


def answer(scorer: Scorer) -> dict[str, Any]:
    """A scorer's answer to one request."""
    return scorer.answer(scorer.request_model.model_validate_json(REQUEST))


def model_of(store_writer: FolderStoreWriter, version: str) -> Path:
    """The path of the model of a version of refund."""
    return store_writer.root / bundle_key("refund", version, "model.ubj")


def damage(store_writer: FolderStoreWriter, version: str) -> None:
    """Truncate a version's model, so that it must not serve."""
    path = model_of(store_writer, version)
    path.write_bytes(path.read_bytes()[:-1])


def hide(store_writer: FolderStoreWriter, version: str) -> Callable[[], None]:
    """Make a version's model unreadable, a failure of the store and not of the bundle; returns what repairs it."""
    path = model_of(store_writer, version)
    aside = path.rename(path.with_name("aside"))
    path.mkdir()

    def repair() -> None:
        path.rmdir()
        aside.rename(path)

    return repair


def test_the_current_version_of_the_pointer_serves(
    store_writer: FolderStoreWriter, promote: Callable[..., str], slot: Slot, watcher: Watcher, refund: Scorer
) -> None:
    """Its answer has its version, and equals its own to the last digit."""
    version = promote(shift=0.5)
    watcher.look()
    found = answer(slot.served.scorer)
    assert found["model_version"] == version
    assert found == answer(load_scorer(model_of(store_writer, version).parent))
    assert found["confidence"] != answer(refund)["confidence"]


def test_a_swap_is_counted_and_logged_once(
    promote: Callable[..., str], watcher: Watcher, refund: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    """With both versions and how long it took."""
    version = promote(shift=0.5)
    for _ in range(3):
        watcher.look()
    assert watcher.counts == {SWAPPED: 1}
    (message,) = caplog.messages
    assert message.startswith(f"refund: now serving {version} instead of {refund.version} (")


def test_every_pointer_update_is_followed(
    release: Callable[..., str], point: Callable[..., Pointer], slot: Slot, watcher: Watcher
) -> None:
    """Forth and back again."""
    first, second = release(shift=0.5), release(shift=1.0)
    for version in (first, second, first):
        point(current=version)
        watcher.look()
        assert slot.served.scorer.version == version


def test_the_packaged_version_is_not_loaded_again(
    point: Callable[..., Pointer], slot: Slot, watcher: Watcher, store: Watched, refund: Scorer
) -> None:
    """If the pointer names the version that serves, nothing is loaded; the store need not even have it."""
    point(current=refund.version)
    watcher.look()
    assert store.keys == [POINTER]
    assert slot.served.scorer is refund


def test_a_pointer_without_a_current_version_leaves_what_serves(
    promote: Callable[..., str], point: Callable[..., Pointer], slot: Slot, watcher: Watcher
) -> None:
    """As where only a shadow was set."""
    version = promote(shift=0.5)
    watcher.look()
    point(current=None)
    watcher.look()
    assert slot.served.scorer.version == version


def test_each_slot_follows_its_own_pointer(
    promote: Callable[..., str], slot: Slot, store: Watched, transaction: Scorer
) -> None:
    """A missing pointer does not affect the other slots."""
    other = Slot(transaction)
    watcher = Watcher(store, {"transaction": other, "refund": slot}, seconds=3600)
    version = promote(shift=0.5)
    watcher.look()
    assert (slot.served.scorer.version, other.served.scorer) == (version, transaction)
    assert list(watcher.unreadable) == ["transaction"]


def test_a_failure_is_logged_once_while_it_stays_the_same(
    store_writer: FolderStoreWriter, watcher: Watcher, refund: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    """With the version that still serves; every look counts, and another failure is logged again."""
    path = store_writer.root / POINTER
    for _ in range(3):
        watcher.look()
    assert watcher.unreadable["refund"].endswith(f"{POINTER} is missing")
    assert watcher.counts == {STORE_FAILED: 3}
    path.parent.mkdir(parents=True)
    path.write_text("garbage")
    for _ in range(3):
        watcher.look()
    missing, garbage = caplog.messages
    assert missing == f"refund: {path} is missing; still serving {refund.version}"
    assert garbage.startswith(f"refund: {path} is not a valid pointer: it: Invalid JSON")
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_a_repaired_pointer_is_followed(
    store_writer: FolderStoreWriter,
    promote: Callable[..., str],
    slot: Slot,
    watcher: Watcher,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The end of the failure is logged once."""
    version = promote(shift=0.5)
    path = store_writer.root / POINTER
    sound = path.read_bytes()
    path.write_bytes(sound[:-20])
    watcher.look()
    path.write_bytes(sound)
    for _ in range(2):
        watcher.look()
    assert slot.served.scorer.version == version
    assert watcher.unreadable == {}
    assert caplog.messages.count("refund: the store can be read again") == 1


def test_an_invalid_pointer_after_a_swap_changes_nothing(
    store_writer: FolderStoreWriter, promote: Callable[..., str], slot: Slot, watcher: Watcher
) -> None:
    """The packaged version does not come back."""
    version = promote(shift=0.5)
    watcher.look()
    (store_writer.root / POINTER).write_text("{}")
    watcher.look()
    assert slot.served.scorer.version == version


def test_a_refused_version_is_not_loaded_again(
    store_writer: FolderStoreWriter,
    promote: Callable[..., str],
    point: Callable[..., Pointer],
    store: Watched,
    watcher: Watcher,
) -> None:
    """Until the pointer is updated."""
    version = promote(shift=0.5)
    damage(store_writer, version)
    watcher.look()
    store.keys.clear()
    watcher.look()
    assert store.keys == [POINTER]
    point(current=version)
    watcher.look()
    assert store.keys.count(bundle_key("refund", version, "model.ubj")) == 1


def test_an_unreadable_version_is_tried_again(
    store_writer: FolderStoreWriter, promote: Callable[..., str], slot: Slot, watcher: Watcher
) -> None:
    """It is not refused: no update of the pointer is needed."""
    version = promote(shift=0.5)
    repair = hide(store_writer, version)
    watcher.look()
    assert (watcher.refused, watcher.counts) == ({}, {STORE_FAILED: 1})
    repair()
    watcher.look()
    assert slot.served.scorer.version == version


def test_a_shadow_follows_the_pointer(
    release: Callable[..., str], point: Callable[..., Pointer], slot: Slot, watcher: Watcher, refund: Scorer
) -> None:
    """It is set beside the version that serves, removed, set again and promoted, without a shadow of its own then."""
    version = release(shift=0.5)
    for shadow in (version, None, version):
        point(shadow=shadow)
        watcher.look()
        assert slot.served.scorer is refund
        assert (slot.served.shadow.version if slot.served.shadow else None) == shadow
    assert watcher.counts == {}
    point(current=version, shadow=None)
    watcher.look()
    assert (slot.served.scorer.version, slot.served.shadow) == (version, None)


def test_a_damaged_shadow_is_refused(
    store_writer: FolderStoreWriter,
    release: Callable[..., str],
    point: Callable[..., Pointer],
    slot: Slot,
    watcher: Watcher,
) -> None:
    """The current version is swapped in all the same."""
    current, shadow = release(shift=0.5), release(shift=1.0)
    damage(store_writer, shadow)
    point(current=current, shadow=shadow)
    watcher.look()
    assert (slot.served.scorer.version, slot.served.shadow) == (current, None)
    assert f"{shadow}/model.ubj is damaged" in watcher.refused["refund"]
    assert watcher.counts == {SWAPPED: 1, REFUSED: 1}


def test_a_refused_version_does_not_affect_the_shadow(
    store_writer: FolderStoreWriter,
    release: Callable[..., str],
    point: Callable[..., Pointer],
    slot: Slot,
    watcher: Watcher,
) -> None:
    """The shadow does not take its place either."""
    current, shadow = release(shift=0.5), release(shift=1.0)
    damage(store_writer, current)
    point(current=current, shadow=shadow)
    watcher.look()
    assert slot.served.scorer.version not in {current, shadow}
    assert slot.served.shadow
    assert slot.served.shadow.version == shadow


def test_a_version_is_swapped_in_although_its_shadow_cannot_be_read(
    store_writer: FolderStoreWriter,
    release: Callable[..., str],
    point: Callable[..., Pointer],
    slot: Slot,
    watcher: Watcher,
) -> None:
    """The shadow follows once it can."""
    current, shadow = release(shift=0.5), release(shift=1.0)
    repair = hide(store_writer, shadow)
    point(current=current, shadow=shadow)
    watcher.look()
    assert (slot.served.scorer.version, slot.served.shadow) == (current, None)
    assert watcher.unreadable["refund"].endswith("model.ubj cannot be read: Is a directory")
    repair()
    watcher.look()
    assert slot.served.shadow
    assert slot.served.shadow.version == shadow
    assert watcher.counts == {SWAPPED: 1, STORE_FAILED: 1}


def test_a_refusal_is_counted_once_although_the_shadow_cannot_be_read(
    store_writer: FolderStoreWriter, release: Callable[..., str], point: Callable[..., Pointer], watcher: Watcher
) -> None:
    """The unreadable store is counted at each look, the damaged bundle once."""
    current, shadow = release(shift=0.5), release(shift=1.0)
    damage(store_writer, current)
    hide(store_writer, shadow)
    point(current=current, shadow=shadow)
    for _ in range(3):
        watcher.look()
    assert watcher.counts == {REFUSED: 1, STORE_FAILED: 3}


class Broken:
    """A store with a bug."""

    def read(self, key: str, limit: int) -> bytes:
        """Fail."""
        raise ZeroDivisionError(f"{key} of at most {limit:,} bytes")


def test_a_bug_in_a_store_ends_no_look(slot: Slot, transaction: Scorer) -> None:
    """It is counted for every scorer, with the exception's name."""
    watcher = Watcher(Broken(), {"refund": slot, "transaction": Slot(transaction)}, seconds=3600)
    watcher.look()
    assert watcher.counts == {STORE_FAILED: 2}
    assert watcher.unreadable["refund"] == f"ZeroDivisionError: {POINTER} of at most 65,536 bytes"


def test_both_reasons_are_kept_where_two_versions_are_refused(
    store_writer: FolderStoreWriter, release: Callable[..., str], point: Callable[..., Pointer], watcher: Watcher
) -> None:
    """The current one's first, then its shadow's."""
    current, shadow = release(shift=0.5), release(shift=1.0)
    damage(store_writer, current)
    damage(store_writer, shadow)
    point(current=current, shadow=shadow)
    for _ in range(2):
        watcher.look()
    first, second = watcher.refused["refund"].split("; ", maxsplit=1)[0], watcher.refused["refund"]
    assert f"{current}/model.ubj is damaged" in first
    assert f"; {store_writer}/refund/bundles/{shadow}/model.ubj is damaged" in second
    assert watcher.counts == {REFUSED: 2}


@pytest.fixture
def metered(store_writer: FolderStoreWriter, slot: Slot) -> Watcher:
    """A watcher of refund's slot that writes metrics."""
    return Watcher(store_writer, {"refund": slot}, seconds=3600, meter=StoreMeter())


def measured(watcher: Watcher, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The metrics of one look, in order; each counts one of refund's."""
    watcher.look()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    names = [line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"] for line in lines]
    assert [(line[name], line["Scorer"]) for line, name in zip(lines, names, strict=True)] == [(1, "refund")] * len(
        names
    )
    return names


def test_swaps_refusals_and_failures_are_counted(
    store_writer: FolderStoreWriter, promote: Callable[..., str], metered: Watcher, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line each, in CloudWatch's format: without a pointer, swapped, refused; and the trouble that it is in."""
    assert measured(metered, capfd) == [STORE_FAILED, TROUBLE]
    promote(shift=0.5)
    assert measured(metered, capfd) == [SWAPPED]
    damage(store_writer, promote(shift=1.0))
    assert measured(metered, capfd) == [REFUSED, TROUBLE]


def test_a_refused_version_is_trouble_at_every_look(
    store_writer: FolderStoreWriter, promote: Callable[..., str], metered: Watcher, capfd: pytest.CaptureFixture[str]
) -> None:
    """Though it is refused once: an alarm on it rings as long as it lasts, and no longer."""
    damage(store_writer, promote(shift=0.5))
    assert [measured(metered, capfd) for _ in range(3)] == [[REFUSED, TROUBLE], [TROUBLE], [TROUBLE]]
    promote(shift=1.0)
    assert [measured(metered, capfd) for _ in range(2)] == [[SWAPPED], []]


def test_a_store_that_cannot_be_read_is_trouble_at_every_look(
    store_writer: FolderStoreWriter, promote: Callable[..., str], metered: Watcher, capfd: pytest.CaptureFixture[str]
) -> None:
    """Once for a scorer, whatever of it cannot be read; with the store the trouble ends."""
    repair = hide(store_writer, promote(shift=0.5))
    assert [measured(metered, capfd) for _ in range(3)] == [[STORE_FAILED, TROUBLE]] * 3
    repair()
    assert [measured(metered, capfd) for _ in range(2)] == [[SWAPPED], []]


def test_a_refused_version_stays_in_trouble_beside_a_shadow_that_cannot_be_read(
    store_writer: FolderStoreWriter,
    release: Callable[..., str],
    point: Callable[..., Pointer],
    metered: Watcher,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Both at once are one trouble."""
    current, shadow = release(shift=0.5), release(shift=1.0)
    damage(store_writer, current)
    hide(store_writer, shadow)
    point(current=current, shadow=shadow)
    assert measured(metered, capfd) == [REFUSED, STORE_FAILED, TROUBLE]
    assert measured(metered, capfd) == [STORE_FAILED, TROUBLE]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The watcher's clock, which a test sets."""
    now = [1e9]
    monkeypatch.setattr("handler.releases.swap.time", lambda: now[0])
    return now


@pytest.mark.parametrize(("later", "n_looks"), [(0, 1), (3599, 1), (3600, 2), (10_000, 2), (-1, 2), (-1e8, 2)])
def test_a_look_is_due_after_some_seconds(
    clock: list[float], store: Watched, watcher: Watcher, later: float, n_looks: int
) -> None:
    """The first at once, and one after the clock was set back, which might otherwise mean never again."""
    watcher.look_if_due(PATIENCE_SECONDS)
    clock[0] += later
    watcher.look_if_due(PATIENCE_SECONDS)
    assert len(store.keys) == n_looks


def test_within_its_budget_a_look_is_waited_for(promote: Callable[..., str], slot: Slot, watcher: Watcher) -> None:
    """The request that starts a look is answered by the new version."""
    version = promote(shift=0.5)
    watcher.look_if_due(PATIENCE_SECONDS)
    assert slot.served.scorer.version == version


def test_nobody_waits_for_a_slow_store_beyond_the_budget(store: Watched, watcher: Watcher) -> None:
    """The call returns while the read still blocks."""
    store.held = "pointer.json"
    watcher.look_if_due(0.01)
    assert store.is_waiting.wait(PATIENCE_SECONDS)
    assert is_looking()


def test_a_second_caller_does_not_wait_for_a_slow_store(store: Watched, watcher: Watcher) -> None:
    """Whatever the budget; no second look starts meanwhile."""
    store.held = "pointer.json"
    watcher.look_if_due(0.01)
    assert store.is_waiting.wait(PATIENCE_SECONDS)
    watcher.look_if_due(10 * PATIENCE_SECONDS)
    assert is_looking()
    assert store.keys == [POINTER]


def test_a_patient_caller_waits_for_a_slow_store(
    promote: Callable[..., str], slot: Slot, store: Watched, watcher: Watcher
) -> None:
    """Such as a schedule or a restored snapshot, for whose answer nobody waits."""
    version = promote(shift=0.5)
    store.held = "pointer.json"
    watcher.look_if_due(0.01)
    assert store.is_waiting.wait(PATIENCE_SECONDS)
    soon = Timer(0.05, store.go_on.set)
    soon.start()
    watcher.look_if_due(PATIENCE_SECONDS, is_patient=True)
    assert slot.served.scorer.version == version
    assert store.keys.count(POINTER) == 1
    soon.join()


def test_a_patient_caller_waits_within_the_budget(store: Watched, watcher: Watcher) -> None:
    """The call returns while the read still blocks."""
    store.held = "pointer.json"
    watcher.look_if_due(0.01)
    assert store.is_waiting.wait(PATIENCE_SECONDS)
    watcher.look_if_due(0.01, is_patient=True)
    assert is_looking()


def test_patience_makes_no_look_due(clock: list[float], store: Watched, watcher: Watcher) -> None:
    """Before the next look is due, the last one suffices."""
    watcher.look_if_due(PATIENCE_SECONDS, is_patient=True)
    clock[0] += 3599
    watcher.look_if_due(PATIENCE_SECONDS, is_patient=True)
    assert store.keys == [POINTER]


def test_the_time_since_the_last_look_is_known(clock: list[float], watcher: Watcher) -> None:
    """In seconds since the last look began, whether it was due or asked for."""
    watcher.look()
    clock[0] += 12.5
    assert watcher.seconds_since_look == 12.5
    watcher.look()
    assert watcher.seconds_since_look == 0


def test_a_slow_store_is_followed_when_it_answers(
    promote: Callable[..., str], slot: Slot, store: Watched, watcher: Watcher
) -> None:
    """By the look that waited for it."""
    version = promote(shift=0.5)
    store.held = "pointer.json"
    watcher.look_if_due(0.01)
    store.go_on.set()
    wait_until(lambda: slot.served.scorer.version == version)
    assert store.keys.count(POINTER) == 1


def test_after_a_slow_store_looks_go_on(clock: list[float], store: Watched, watcher: Watcher) -> None:
    """When they are due."""
    store.held = "pointer.json"
    watcher.look_if_due(0.01)
    store.go_on.set()
    wait_until(lambda: not is_looking())
    clock[0] += 3600
    watcher.look_if_due(PATIENCE_SECONDS)
    assert store.keys == [POINTER] * 2


def test_a_caller_waits_while_a_version_is_loaded(
    promote: Callable[..., str], slot: Slot, store: Watched, watcher: Watcher
) -> None:
    """With rare requests it would otherwise never be loaded."""
    version = promote(shift=0.5)
    store.held = "model.ubj"
    watcher.look_if_due(0.01)
    assert store.is_waiting.wait(PATIENCE_SECONDS)
    soon = Timer(0.05, store.go_on.set)
    soon.start()
    watcher.look_if_due(PATIENCE_SECONDS)
    assert slot.served.scorer.version == version
    soon.join()


def test_a_caller_waits_for_loading_within_the_budget(
    promote: Callable[..., str], slot: Slot, store: Watched, watcher: Watcher
) -> None:
    """The old version answers meanwhile."""
    version = promote(shift=0.5)
    store.held = "model.ubj"
    watcher.look_if_due(0.01)
    assert store.is_waiting.wait(PATIENCE_SECONDS)
    watcher.look_if_due(0.01)
    assert is_looking()
    assert slot.served.scorer.version != version


def test_two_looks_never_run_at_once(store: Watched, watcher: Watcher) -> None:
    """The second returns at once."""
    store.held = "pointer.json"
    first = Thread(target=watcher.look)
    first.start()
    assert store.is_waiting.wait(PATIENCE_SECONDS)
    watcher.look()
    assert store.keys == [POINTER]
    store.go_on.set()
    first.join(PATIENCE_SECONDS)
    watcher.look()
    assert store.keys == [POINTER] * 2


@pytest.fixture
def started(store: Watched, slot: Slot) -> Iterator[Watcher]:
    """A watcher that looks in the background."""
    watcher = Watcher(store, {"refund": slot}, seconds=0.01)
    watcher.start()
    yield watcher
    watcher.stop()


@pytest.mark.usefixtures("started")
def test_a_server_looks_in_the_background(promote: Callable[..., str], slot: Slot) -> None:
    """Again and again, whatever failed before."""
    for shift in (0.5, 1.0):
        version = promote(shift=shift)
        wait_until(lambda version=version: slot.served.scorer.version == version)


def test_a_stopped_watcher_ends_its_thread(store: Watched, started: Watcher) -> None:
    """It looks no more."""
    wait_until(lambda: store.keys)
    started.stop()
    wait_until(lambda: not is_looking())


def test_a_stopped_watcher_can_start_again(store: Watched, started: Watcher) -> None:
    """As when an application's lifespan runs twice."""
    started.stop()
    wait_until(lambda: not is_looking())
    store.keys.clear()
    started.start()
    wait_until(lambda: store.keys)
