"""The hot swap: the slots follow the pointers, whatever fails in the store.

Versions that must not serve are in test_refusals.py.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator
from threading import Thread, Timer
from typing import Any

import pytest

from handler.records.telemetry import REFUSED, STORE_FAILED, SWAPPED, TROUBLE, StoreMeter
from handler.releases.served import Slot
from handler.releases.store import bundle_key, pointer_key
from handler.releases.swap import Watcher
from handler.scoring.scorer import Scorer, load_scorer
from tests.handler.deployment import PATIENCE_SECONDS, Deployment, is_looking, wait_until

REQUEST = b'{"yearsActive": 1.5, "amount": 45.0, "ipAccounts": 2, "refunds": 20}'
POINTER = pointer_key("refund")


def answer(scorer: Scorer) -> dict[str, Any]:
    """A scorer's answer to one request."""
    return scorer.answer(scorer.request_model.model_validate_json(REQUEST))


def damage(deployment: Deployment, version: str) -> None:
    """Truncate a version's model, so that it must not serve."""
    path = deployment.folder(version) / "model.ubj"
    path.write_bytes(path.read_bytes()[:-1])


def hide(deployment: Deployment, version: str) -> Callable[[], None]:
    """Make a version's model unreadable, a failure of the store and not of the bundle; returns what repairs it."""
    path = deployment.folder(version) / "model.ubj"
    aside = path.rename(path.with_name("aside"))
    path.mkdir()

    def repair() -> None:
        path.rmdir()
        aside.rename(path)

    return repair


def test_the_current_version_of_the_pointer_is_swapped_in(
    deployment: Deployment, refund: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers as if loaded directly, to the last digit; the swap is counted once, and logged with both versions."""
    version = deployment.promote(shift=0.5)
    deployment.look(3)
    served = answer(deployment.slot.served.scorer)
    assert served["model_version"] == version
    assert served == answer(load_scorer(deployment.folder(version)))
    assert served["confidence"] != answer(refund)["confidence"]
    assert deployment.watcher.counts == {SWAPPED: 1}
    (message,) = caplog.messages
    assert message.startswith(f"refund: now serving {version} instead of {refund.version} (")


def test_every_pointer_update_is_followed(deployment: Deployment) -> None:
    """It may go back, too. Without a current version, for example with only a shadow, the same version serves on."""
    first, second = deployment.release(shift=0.5), deployment.release(shift=1.0)
    for version in (first, second, first):
        deployment.point(current=version)
        deployment.look()
        assert deployment.served_version == version
    deployment.point(current=None)
    deployment.look()
    assert deployment.served_version == first


def test_the_packaged_version_is_not_loaded_again(deployment: Deployment, refund: Scorer) -> None:
    """If the pointer names the version that serves, nothing is loaded; the store need not even have it."""
    deployment.point(current=refund.version)
    deployment.look()
    assert deployment.store.keys == [POINTER]
    assert deployment.slot.served.scorer is refund


def test_each_slot_follows_its_own_pointer(deployment: Deployment, transaction: Scorer) -> None:
    """A missing pointer does not affect the other slots."""
    other = Slot(transaction)
    watcher = Watcher(deployment.store, {"transaction": other, "refund": deployment.slot}, seconds=3600)
    version = deployment.promote(shift=0.5)
    watcher.look()
    assert (deployment.served_version, other.served.scorer) == (version, transaction)
    assert list(watcher.unreadable) == ["transaction"]


def test_a_failure_is_logged_once_while_it_stays_the_same(
    deployment: Deployment, refund: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the version that still serves. Every look counts, and a different failure is logged again."""
    path = deployment.writer.root / POINTER
    deployment.look(3)
    assert deployment.watcher.unreadable["refund"].endswith(f"{POINTER} is missing")
    assert deployment.watcher.counts == {STORE_FAILED: 3}
    path.parent.mkdir(parents=True)
    path.write_text("garbage")
    deployment.look(3)
    missing, garbage = caplog.messages
    assert missing == f"refund: {path} is missing; still serving {refund.version}"
    assert garbage.startswith(f"refund: {path} is not a valid pointer: Invalid JSON")
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_an_invalid_pointer_changes_nothing_until_it_is_repaired(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """The packaged version does not come back either; the end of the failure is logged once."""
    first = deployment.promote(shift=0.5)
    deployment.look()
    second = deployment.promote(shift=1.0)
    path = deployment.writer.root / POINTER
    sound = path.read_bytes()
    path.write_bytes(sound[:-20])
    deployment.look()
    assert deployment.served_version == first
    path.write_bytes(sound)
    deployment.look(2)
    assert deployment.served_version == second
    assert deployment.watcher.unreadable == {}
    assert caplog.messages.count("refund: the store can be read again") == 1


def test_a_refused_version_is_not_loaded_again(deployment: Deployment) -> None:
    """It is loaded again only after the pointer is updated."""
    version = deployment.promote(shift=0.5)
    damage(deployment, version)
    deployment.look()
    deployment.store.keys.clear()
    deployment.look()
    assert deployment.store.keys == [POINTER]
    deployment.point(current=version)
    deployment.look()
    assert deployment.store.keys.count(bundle_key("refund", version, "model.ubj")) == 1


def test_a_shadow_follows_the_pointer(deployment: Deployment, refund: Scorer) -> None:
    """It is set beside the version that serves, removed, set again and promoted, then without a shadow."""
    version = deployment.release(shift=0.5)
    for shadow in (version, None, version):
        deployment.point(shadow=shadow)
        deployment.look()
        assert deployment.slot.served.scorer is refund
        assert deployment.shadow_version == shadow
    assert deployment.watcher.counts == {}
    deployment.point(current=version, shadow=None)
    deployment.look()
    assert (deployment.served_version, deployment.shadow_version) == (version, None)


@pytest.mark.parametrize("damaged", [["current"], ["shadow"], ["current", "shadow"]], ids=" and ".join)
def test_each_of_two_versions_is_refused_alone(deployment: Deployment, refund: Scorer, damaged: list[str]) -> None:
    """A sound one serves in its own role and no other; both reasons are kept, the current version's first."""
    versions = {"current": deployment.release(shift=0.5), "shadow": deployment.release(shift=1.0)}
    for role in damaged:
        damage(deployment, versions[role])
    deployment.point(**versions)
    deployment.look(2)
    assert deployment.served_version == (refund.version if "current" in damaged else versions["current"])
    assert deployment.shadow_version == (None if "shadow" in damaged else versions["shadow"])
    reason = rf"(?:^|; ){re.escape(str(deployment.store))}/refund/bundles/(\w+)/model\.ubj is damaged"
    assert re.findall(reason, deployment.watcher.refused["refund"]) == [versions[role] for role in damaged]
    swapped = {} if "current" in damaged else {SWAPPED: 1}
    assert deployment.watcher.counts == {REFUSED: len(damaged), **swapped}


def test_a_version_is_swapped_in_although_its_shadow_cannot_be_read(deployment: Deployment) -> None:
    """The shadow follows once it can be read."""
    current, shadow = deployment.release(shift=0.5), deployment.release(shift=1.0)
    repair = hide(deployment, shadow)
    deployment.point(current=current, shadow=shadow)
    deployment.look()
    assert (deployment.served_version, deployment.shadow_version) == (current, None)
    assert deployment.watcher.unreadable["refund"].endswith("model.ubj cannot be read: Is a directory")
    repair()
    deployment.look()
    assert deployment.shadow_version == shadow
    assert deployment.watcher.counts == {SWAPPED: 1, STORE_FAILED: 1}


class DefectiveStore:
    """A store with a bug."""

    def read(self, key: str, limit: int) -> bytes:
        """Fail."""
        raise ZeroDivisionError(f"{key} of at most {limit:,} bytes")


def test_a_bug_in_a_store_ends_no_look(refund: Scorer, transaction: Scorer) -> None:
    """It is counted for every scorer, with the exception's name."""
    watcher = Watcher(DefectiveStore(), {"refund": Slot(refund), "transaction": Slot(transaction)}, seconds=3600)
    watcher.look()
    assert watcher.counts == {STORE_FAILED: 2}
    assert watcher.unreadable["refund"] == f"ZeroDivisionError: {POINTER} of at most 65,536 bytes"


@pytest.fixture
def metered(deployment: Deployment) -> Deployment:
    """The deployment, whose watcher writes metrics."""
    deployment.watcher = Watcher(deployment.store, {"refund": deployment.slot}, seconds=3600, meter=StoreMeter())
    return deployment


def metrics(metered: Deployment, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The names of the metrics of one look, in order; each has the value 1, for refund."""
    metered.look()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    names = [line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"] for line in lines]
    assert all((line[name], line["Scorer"]) == (1, "refund") for line, name in zip(lines, names, strict=True))
    return names


def test_a_refused_version_is_trouble_at_every_look(metered: Deployment, capfd: pytest.CaptureFixture[str]) -> None:
    """It is refused once, but its alarm lasts until the next good version; so does that of a missing pointer."""
    assert metrics(metered, capfd) == [STORE_FAILED, TROUBLE]
    metered.promote(shift=0.5)
    assert [metrics(metered, capfd) for _ in range(2)] == [[SWAPPED], []]
    damage(metered, metered.promote(shift=1.0))
    assert [metrics(metered, capfd) for _ in range(3)] == [[REFUSED, TROUBLE], [TROUBLE], [TROUBLE]]
    metered.promote(shift=1.5)
    assert [metrics(metered, capfd) for _ in range(2)] == [[SWAPPED], []]


def test_an_unreadable_version_is_trouble_and_tried_again(
    metered: Deployment, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is not refused, so every look tries it again, even if the pointer is not updated."""
    version = metered.promote(shift=0.5)
    repair = hide(metered, version)
    assert [metrics(metered, capfd) for _ in range(3)] == [[STORE_FAILED, TROUBLE]] * 3
    assert metered.watcher.refused == {}
    repair()
    assert [metrics(metered, capfd) for _ in range(2)] == [[SWAPPED], []]
    assert metered.served_version == version


def test_a_refused_version_beside_an_unreadable_shadow_is_one_trouble(
    metered: Deployment, capfd: pytest.CaptureFixture[str]
) -> None:
    """The unreadable store is counted at each look, the damaged bundle once."""
    current, shadow = metered.release(shift=0.5), metered.release(shift=1.0)
    damage(metered, current)
    hide(metered, shadow)
    metered.point(current=current, shadow=shadow)
    assert metrics(metered, capfd) == [REFUSED, STORE_FAILED, TROUBLE]
    assert metrics(metered, capfd) == [STORE_FAILED, TROUBLE]
    assert metered.watcher.counts == {REFUSED: 1, STORE_FAILED: 2}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The watcher's clock, which a test sets."""
    now = [1e9]
    monkeypatch.setattr("handler.releases.swap.time", lambda: now[0])
    return now


@pytest.mark.parametrize("is_patient", [False, True], ids=["", "patient"])
@pytest.mark.parametrize(("later", "n_looks"), [(0, 1), (3599, 1), (3600, 2), (10_000, 2), (-1, 2), (-1e8, 2)])
def test_a_look_is_due_after_some_seconds(
    clock: list[float], deployment: Deployment, later: float, n_looks: int, *, is_patient: bool
) -> None:
    """The first is due at once, and so is one after the clock was set back, which would otherwise delay it for long."""
    deployment.watcher.look_if_due(PATIENCE_SECONDS, is_patient=is_patient)
    clock[0] += later
    deployment.watcher.look_if_due(PATIENCE_SECONDS, is_patient=is_patient)
    assert len(deployment.store.keys) == n_looks


def test_within_its_budget_a_look_is_waited_for(deployment: Deployment) -> None:
    """The request that starts a look is answered by the new version."""
    version = deployment.promote(shift=0.5)
    deployment.watcher.look_if_due(PATIENCE_SECONDS)
    assert deployment.served_version == version


def begin_slow_look(deployment: Deployment, suffix: str) -> str:
    """Promote a version and start a look that blocks at a file; returns the version."""
    version = deployment.promote(shift=0.5)
    deployment.store.held = suffix
    deployment.watcher.look_if_due(0.01)
    assert deployment.store.is_waiting.wait(PATIENCE_SECONDS)
    return version


@pytest.mark.parametrize(
    ("suffix", "budget_seconds", "is_patient"),
    [("pointer.json", 10 * PATIENCE_SECONDS, False), ("pointer.json", 0.01, True), ("model.ubj", 0.01, False)],
)
def test_no_caller_waits_for_a_slow_store_beyond_its_budget(
    deployment: Deployment, suffix: str, budget_seconds: float, *, is_patient: bool
) -> None:
    """The next caller does not either, and waits for a pointer only if patient; no second look starts."""
    version = begin_slow_look(deployment, suffix)
    deployment.watcher.look_if_due(budget_seconds, is_patient=is_patient)
    assert is_looking()
    assert deployment.served_version != version
    assert deployment.store.keys.count(POINTER) == 1


@pytest.mark.parametrize(("suffix", "is_patient"), [("pointer.json", True), ("model.ubj", False)])
def test_a_caller_waits_with_patience_or_while_a_version_is_loaded(
    deployment: Deployment, suffix: str, *, is_patient: bool
) -> None:
    """A schedule or a restored snapshot is patient. With rare requests a version would otherwise never be loaded."""
    version = begin_slow_look(deployment, suffix)
    soon = Timer(0.05, deployment.store.go_on.set)
    soon.start()
    deployment.watcher.look_if_due(PATIENCE_SECONDS, is_patient=is_patient)
    assert deployment.served_version == version
    assert deployment.store.keys.count(POINTER) == 1
    soon.join()


def test_a_slow_store_is_followed_when_it_answers(clock: list[float], deployment: Deployment) -> None:
    """The look that waited for it swaps the version in; the next look starts when it is due."""
    version = begin_slow_look(deployment, "pointer.json")
    deployment.store.go_on.set()
    deployment.watcher.look_if_due(PATIENCE_SECONDS, is_patient=True)
    assert deployment.served_version == version
    assert deployment.store.keys.count(POINTER) == 1
    clock[0] += 3600
    deployment.watcher.look_if_due(PATIENCE_SECONDS)
    assert deployment.store.keys.count(POINTER) == 2


def test_two_looks_never_run_at_once(deployment: Deployment) -> None:
    """The second returns at once."""
    deployment.store.held = "pointer.json"
    first = Thread(target=deployment.look)
    first.start()
    assert deployment.store.is_waiting.wait(PATIENCE_SECONDS)
    deployment.look()
    assert deployment.store.keys == [POINTER]
    deployment.store.go_on.set()
    first.join(PATIENCE_SECONDS)
    deployment.look()
    assert deployment.store.keys == [POINTER] * 2


@pytest.fixture
def started(deployment: Deployment) -> Iterator[Watcher]:
    """A watcher of the deployment that looks in the background."""
    watcher = Watcher(deployment.store, {"refund": deployment.slot}, seconds=0.01)
    watcher.start()
    yield watcher
    watcher.stop()


def test_a_server_looks_in_the_background(deployment: Deployment, started: Watcher) -> None:
    """It does so again and again, whatever failed before; after a stop it can start again, as a lifespan may."""
    for shift in (0.5, 1.0):
        version = deployment.promote(shift=shift)
        wait_until(lambda version=version: deployment.served_version == version)
    started.stop()
    wait_until(lambda: not is_looking())
    deployment.store.keys.clear()
    started.start()
    wait_until(lambda: deployment.store.keys)
