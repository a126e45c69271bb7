"""Updates of the pointer: promotions that the gate allows or that are forced with a reason, rollbacks and shadows."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.variants import rewrite_manifest
from handler.releases.store import Pointer, pointer_key
from handler.releases.swap import load_released
from training.delivery import pointer as pointers
from training.delivery.gate_verdict import GateMeasures, GateVerdict
from training.delivery.pointer import RefusedError, promote, read_history, roll_back, set_shadow, update_pointer
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter, S3StoreWriter, read_current_pointer, read_if_there
from training.errors import StageError

ROWS = Path("build/mini/rows/test.parquet")
ABSENT = "0123456789ab"


@dataclass
class Deployment:
    """The mini scorer's versions in a store, and its pointer there."""

    store: FolderStoreWriter
    variant: Callable[..., Path]

    def release(self, **changes: object) -> str:
        """Publish another version, as `variant` makes it; returns the version."""
        return publish(self.store, self.variant(**changes))

    def promote(self, version: str, rows: Path = ROWS, force: str | None = None) -> Pointer:
        """Promote a version that the gate judges on the mini scorer's test rows, or on others."""
        return promote(self.store, "mini", version, rows, force=force)

    def roll_back(self, version: str | None = None, force: str | None = None) -> Pointer:
        """Roll back to the previous or a named version."""
        return roll_back(self.store, "mini", version, force=force)

    def set_shadow(self, version: str | None) -> Pointer:
        """Set or clear the shadow."""
        return set_shadow(self.store, "mini", version)

    def answers(self, version: str | None) -> list[str]:
        """The version's answers to its golden requests, to the last bit."""
        scorer = load_released(self.store, "mini", str(version))
        requests = [scorer.request_model.model_validate(case["request"]) for case in scorer.bundle.golden]
        return [json.dumps(scorer.answer(request, explain=True)) for request in requests]

    @property
    def pointer(self) -> Pointer | None:
        """The present pointer."""
        return read_current_pointer(self.store, "mini")[0]

    @property
    def pointer_bytes(self) -> bytes | None:
        """The present pointer's file."""
        return read_if_there(self.store, pointer_key("mini"))


@pytest.fixture
def deployment(
    trained: Path, folder_store: FolderStoreWriter, variant: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Deployment:
    """An empty store; the working folder is the project that declares the mini scorer and has its rows."""
    monkeypatch.chdir(trained)
    return Deployment(folder_store, variant)


@pytest.fixture
def first(deployment: Deployment) -> str:
    """A version that was promoted."""
    version = deployment.release()
    deployment.promote(version)
    return version


@pytest.fixture
def second(deployment: Deployment) -> str:
    """A released version that is as good as the first."""
    return deployment.release(shift=0.01)


def test_history_has_every_update(
    trained: Path,
    store: FolderStoreWriter | S3StoreWriter,
    variant: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The history lists the pointers that updates returned, the present one last; an empty store has none."""
    monkeypatch.chdir(trained)
    assert read_history(store, "mini") == []
    assert read_current_pointer(store, "mini") == (None, None)
    first, second = (publish(store, variant(shift=shift)) for shift in (0, 0.01))
    updates = [promote(store, "mini", version, ROWS) for version in (first, second)]
    updates += [set_shadow(store, "mini", first), roll_back(store, "mini")]
    updates += [set_shadow(store, "mini", second), set_shadow(store, "mini", None)]
    assert [(update.action, update.current, update.previous, update.shadow) for update in updates] == [
        ("promote", first, None, None),
        ("promote", second, first, None),
        ("shadow", second, first, first),
        ("rollback", first, None, None),
        ("shadow", first, None, second),
        ("shadow", first, None, None),
    ]
    assert [update.serial for update in updates] == [1, 2, 3, 4, 5, 6]
    assert (updates[3].reason, updates[3].gate) == (None, None)
    assert read_history(store, "mini") == updates
    assert read_current_pointer(store, "mini")[0] == updates[-1]


def test_pointer_has_the_person_and_the_time(deployment: Deployment, first: str, commit: Callable[[str], str]) -> None:
    """An update has the name of the person who made it, and its time in UTC."""
    commit("one")
    pointer = deployment.set_shadow(None)
    assert (pointer.by, pointer.current) == ("Ada Example", first)
    assert pointer.at.endswith("Z")


def test_pointer_keeps_what_the_gate_measured(
    deployment: Deployment, first: str, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A promoted pointer has the gate's numbers and the file of its rows, and a reason only if one was needed."""
    capsys.readouterr()
    pointer = deployment.promote(second, force="just in case")
    gate = pointer.gate
    assert (pointer.current, pointer.reason) == (second, None)
    assert (gate["frauds"], gate["objections"], gate["file"]) == (25, [], str(ROWS))
    assert gate["average_precision"]["gain"] == 0
    assert f"mini: {second}, compared with {first}, on 300 rows of {ROWS}" in capsys.readouterr().out


def test_refused_version_is_promoted_only_with_a_reason(deployment: Deployment, first: str) -> None:
    """A refusal lists the objections and changes nothing; a reason overrules it and is kept with them."""
    reversed_ranking, before = deployment.release(slope=-1), deployment.pointer_bytes
    with pytest.raises(StageError, match=rf"^{reversed_ranking} is not promoted: .*its average precision is") as raised:
        deployment.promote(reversed_ranking)
    assert str(raised.value).endswith("To do it anyway, set FORCE='a reason'; the reason is recorded")
    assert deployment.pointer_bytes == before
    assert deployment.store.names("mini/history") == []
    pointer = deployment.promote(reversed_ranking, force="a drill")
    assert (pointer.current, pointer.previous, pointer.reason) == (reversed_ranking, first, "a drill")
    assert any("average precision" in objection for objection in pointer.gate["objections"])


def test_undecided_version_is_promoted_only_with_a_reason(deployment: Deployment, first: str, second: str) -> None:
    """If the gate cannot tell, only a reason promotes the version, and it is kept with the doubts."""
    few = pd.read_parquet(ROWS).sort_values("is_fraud").tail(200).sort_values("at")
    rows = deployment.store.root / "few.parquet"
    few[few["is_fraud"].cumsum() < 15].to_parquet(rows)
    doubt = "the window has 14 frauds, and gate.min_frauds is 20; declare a longer test window"
    with pytest.raises(RefusedError, match=rf"^{second} is not promoted: the gate cannot tell: .*{doubt}") as raised:
        deployment.promote(second, rows)
    assert (raised.value.verdict.kind, raised.value.verdict.objections) == ("cannot tell", ())
    pointer = deployment.promote(second, rows, force="nobody can wait")
    assert (pointer.previous, pointer.reason) == (first, "nobody can wait")
    assert pointer.gate["objections"] == []
    assert doubt in pointer.gate["doubts"]


def test_best_release_so_far_is_judged_beside_the_champion(
    deployment: Deployment, first: str, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best release is remembered across promotions, even if it no longer serves; a warning says if it is lost."""
    reversed_ranking = deployment.release(slope=-1)
    pointer = deployment.promote(reversed_ranking, force="a drill")
    assert pointer.gate["best"] == first
    assert "best_former" not in pointer.gate
    with pytest.raises(StageError, match=f"that of {first}, the best release so far, ") as raised:
        deployment.promote(deployment.release(slope=-0.9))
    assert "the champion's" not in str(raised.value)
    pointer = deployment.promote(second)
    assert (pointer.gate["best_former"]["version"], pointer.gate["best_former"]["gain"]) == (first, 0)
    deployment.promote(reversed_ranking, force="a drill")
    (deployment.store.root / "mini" / "bundles" / pointer.gate["best"] / "model.ubj").write_bytes(b"damaged")
    capsys.readouterr()
    deployment.promote(deployment.release(shift=0.02))
    assert f"WARNING: {pointer.gate['best']}, the best release so far, is left out of the comparison: " in (
        capsys.readouterr().out
    )


def test_best_release_that_learned_the_rows_is_left_out(
    deployment: Deployment, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Like one with damaged files, it cannot be compared: it is flattered by rows that it has learned from."""
    folder = deployment.variant(shift=0.02)
    windows = json.loads((folder / "manifest.json").read_bytes())["windows"]
    rewrite_manifest(folder, windows=windows | {"calibrate": windows["calibrate"] | {"to": "2025-03-01T00:00:00"}})
    seen = publish(deployment.store, folder)
    deployment.promote(seen, force="a drill")
    pointer = deployment.promote(deployment.release(slope=-1), force="a drill")
    assert any(doubt.startswith(f"the champion, {seen}, has learned from rows") for doubt in pointer.gate["doubts"])
    assert pointer.gate["best"] == seen
    capsys.readouterr()
    assert "best_former" not in deployment.promote(second).gate
    warning = f"WARNING: {seen}, the best release so far, is left out of the comparison: it has learned from rows of "
    assert warning in capsys.readouterr().out


def with_refit(deployment: Deployment, to: str, judged_by: str, **changes: object) -> str:
    """Publish a version that was refitted on rows up to a date, and that its twin is judged for."""
    folder = deployment.variant(**changes)
    windows = json.loads((folder / "manifest.json").read_bytes())["windows"]
    rewrite_manifest(folder, windows=windows | {"refit": {"to": to, "judged_by": judged_by}})
    return publish(deployment.store, folder)


def test_refitted_version_is_judged_by_its_twin(
    deployment: Deployment, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The twin is judged if the version has learned from the rows; on later rows the version is judged itself."""
    twin = deployment.release(shift=0.01)
    refitted = with_refit(deployment, "2025-03-02T00:00:00", twin, slope=-1)
    pointer = deployment.promote(refitted)
    assert (pointer.current, pointer.previous) == (refitted, first)
    assert (pointer.gate["judged_by"], pointer.gate["average_precision"]["gain"]) == (twin, 0)
    assert f"{refitted} has learned from these rows, so its twin {twin} is judged" in capsys.readouterr().out
    early = with_refit(deployment, "2025-01-20T00:00:00", twin, slope=-1)
    with pytest.raises(RefusedError, match="its average precision is"):
        deployment.promote(early)
    orphan = with_refit(deployment, "2025-03-02T00:00:00", ABSENT)
    with pytest.raises(StageError, match=f"mini has no released version '{ABSENT}'"):
        deployment.promote(orphan)


def test_best_release_is_the_one_that_served(deployment: Deployment) -> None:
    """Not the twin that was judged for it: champions and former releases are recorded by their own versions."""
    refitted = [
        with_refit(deployment, "2025-03-02T00:00:00", deployment.release(shift=shift), shift=-shift)
        for shift in (0.01, 0.02)
    ]
    gates = [deployment.promote(version).gate for version in refitted]
    assert [gate["best"] for gate in gates] == [refitted[0]] * 2
    assert "best_former" not in gates[1]
    later = deployment.promote(deployment.release(shift=0.03)).gate
    assert (later["best_former"]["version"], later["best"]) == (refitted[0], refitted[1])


Update = Callable[[Deployment, str], object]


@pytest.mark.parametrize(
    ("update", "error"),
    [
        (lambda deployment, first: deployment.promote(first), "^{first} is current already"),
        (
            lambda deployment, _: deployment.promote(ABSENT, force="now"),
            rf"mini has no released version '{ABSENT}'; the released ones are \w+ \(`make release` adds one\)",
        ),
        (
            lambda deployment, _: deployment.roll_back(),
            "mini has no previous version to go back to; `make releases` lists",
        ),
        (lambda deployment, first: deployment.roll_back(first), "^{first} is current already"),
        (lambda deployment, _: deployment.roll_back(ABSENT, force="now"), f"no released version '{ABSENT}'"),
        (lambda deployment, first: deployment.set_shadow(first), "^{first} is current, so it cannot be the shadow too"),
        (lambda deployment, _: deployment.set_shadow(ABSENT), f"no released version '{ABSENT}'"),
    ],
    ids=[
        "promote the current version",
        "promote an unknown version",
        "roll back the first version",
        "roll back to the current version",
        "roll back to an unknown version",
        "the current version as shadow",
        "an unknown version as shadow",
    ],
)
def test_impossible_update_changes_nothing(deployment: Deployment, first: str, update: Update, error: str) -> None:
    """An update that cannot be made fails with the reason, and the pointer keeps its bytes."""
    before = deployment.pointer_bytes
    with pytest.raises(StageError, match=error.replace("{first}", first)):
        update(deployment, first)
    assert deployment.pointer_bytes == before


def test_shadow_may_come_before_the_first_promotion(deployment: Deployment, second: str) -> None:
    """A version may shadow the bundle that is deployed with the function; there is nothing to roll back to then."""
    with pytest.raises(StageError, match="mini has no previous version to go back to; `make releases` lists"):
        deployment.roll_back()
    pointer = deployment.set_shadow(second)
    assert (pointer.serial, pointer.current, pointer.shadow) == (1, None, second)
    with pytest.raises(StageError, match="has no previous version"):
        deployment.roll_back(second)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("absent.parquet", r"the gate's rows, .*absent\.parquet, cannot be read"),
        ("rows.csv", r"the gate's rows, .*rows\.csv, cannot be read"),
        ("rows.parquet", None),
    ],
)
def test_rows_must_be_readable(
    deployment: Deployment, second: str, tmp_path: Path, name: str, error: str | None
) -> None:
    """Promotion needs a Parquet file with the declared columns."""
    (tmp_path / "rows.csv").write_text("at,amount\n1,2\n")
    pd.DataFrame({"amount": [1.0]}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(StageError, match=error):
        deployment.promote(second, tmp_path / name)
    assert deployment.pointer_bytes is None


@pytest.mark.parametrize("has_champion", [False, True])
def test_pointer_that_changes_while_the_gate_runs_stays(
    deployment: Deployment, second: str, monkeypatch: pytest.MonkeyPatch, *, has_champion: bool
) -> None:
    """A verdict is discarded if the champion that it was about is no longer the current version."""
    if has_champion:
        deployment.promote(deployment.release())
    theirs = deployment.release(shift=0.02)

    def judge(*_: object) -> GateVerdict:
        update_pointer(deployment.store, "mini", "promote", lambda _: {"current": theirs})
        return GateVerdict(GateMeasures())

    monkeypatch.setattr(pointers, "judge_challenger", judge)
    with pytest.raises(StageError, match="updated while the gate ran; promote again"):
        deployment.promote(second)
    assert (deployment.pointer.serial, deployment.pointer.current) == (1 + has_champion, theirs)


def test_pointer_that_changes_between_read_and_write_stays(store: FolderStoreWriter | S3StoreWriter) -> None:
    """An update is refused if another writer has updated the pointer since it was read."""
    update_pointer(store, "mini", "shadow", lambda _: {"reason": "first"})

    def change(_: Pointer | None) -> dict[str, Any]:
        update_pointer(store, "mini", "shadow", lambda _: {"reason": "theirs"})
        return {"reason": "mine"}

    with pytest.raises(StageError, match="was updated by another writer"):
        update_pointer(store, "mini", "shadow", change)
    assert [pointer.reason for pointer in read_history(store, "mini")] == ["first", "theirs"]


def test_rollback_restores_the_same_answers(deployment: Deployment, first: str, second: str) -> None:
    """Back and forth, each version gives the same answers as before, bit for bit."""
    before = deployment.answers(first)
    after = deployment.answers(deployment.promote(second).current)
    assert before != after
    assert deployment.answers(deployment.roll_back().current) == before
    assert deployment.answers(deployment.roll_back(second).current) == after


def test_second_rollback_goes_further_back(deployment: Deployment, first: str, second: str) -> None:
    """A second rollback does not return to the version that was rolled back; any released version may be named."""
    third = deployment.release(shift=0.02)
    for version in (second, third):
        deployment.promote(version)
    assert [deployment.roll_back().current for _ in range(2)] == [second, first]
    with pytest.raises(StageError, match="has no previous version"):
        deployment.roll_back()
    deployment.promote(third)
    deployment.promote(second)
    pointer = deployment.roll_back(first)
    assert (pointer.current, pointer.previous) == (first, None)


def test_lost_pointer_continues_from_the_history(deployment: Deployment, first: str, second: str) -> None:
    """The next update gets a serial number that no earlier one had."""
    deployment.promote(second)
    (deployment.store.root / "mini" / "pointer.json").unlink()
    assert deployment.promote(first, force="it was lost").serial == 2
    assert deployment.promote(second, force="and on").serial == 3


def test_damaged_pointer_is_replaced_by_force(deployment: Deployment, first: str, second: str) -> None:
    """Without a reason nothing is updated, and the error says how to replace the pointer."""
    deployment.promote(second)
    (deployment.store.root / "mini" / "pointer.json").write_bytes(b"{")
    with pytest.raises(StageError, match=r"is not a valid pointer: .*set VERSION= and FORCE='a reason' to replace it"):
        deployment.roll_back(first)
    assert deployment.roll_back(second, force="it was damaged").current == second
    assert deployment.promote(first, force="and on").current == first


def test_rollback_that_breaks_the_contract_needs_a_reason(
    deployment: Deployment, first: str, variant: Callable[..., Path]
) -> None:
    """The error names what callers of the current version would lose; a reason overrules it and is kept."""
    folder = variant()
    contract = json.loads((folder / "manifest.json").read_bytes())["contract"]
    contract["fields"]["amount"]["max"] = 50_000.0
    rewrite_manifest(folder, contract=contract)
    narrower = publish(deployment.store, folder)
    error = rf"^{narrower} does not keep what {first} promises: its amountUsd has a maximum of 50000, not 100000\. "
    with pytest.raises(StageError, match=error):
        deployment.roll_back(narrower)
    assert deployment.pointer.current == first
    pointer = deployment.roll_back(narrower, force="the newer one fails")
    assert (pointer.current, pointer.previous, pointer.reason) == (narrower, first, "the newer one fails")


def test_rollback_from_a_damaged_version_needs_a_reason(deployment: Deployment, first: str, second: str) -> None:
    """If the current version's files were damaged in the store, a reason restores the previous one."""
    deployment.promote(second)
    (deployment.store.root / "mini" / "bundles" / second / "model.ubj").write_bytes(b"damaged")
    assert deployment.roll_back(force="the store is damaged").current == first


@pytest.mark.usefixtures("first")
def test_promotion_clears_the_shadow_that_it_promotes(deployment: Deployment, second: str) -> None:
    """Promoting another version leaves the shadow as it is."""
    third = deployment.release(shift=0.02)
    deployment.set_shadow(third)
    assert deployment.promote(second).shadow == third
    pointer = deployment.promote(third)
    assert (pointer.current, pointer.previous, pointer.shadow) == (third, second, None)
