"""Moves of the pointer: what the gate lets through and what a reason overrules, back and forth, beside as a shadow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.variants import rewrite_manifest
from handler.releases.store import Pointer, pointer_key
from handler.releases.swap import load_released
from training.delivery import pointer as moves
from training.delivery.gate import GateMeasures, GateVerdict
from training.delivery.pointer import promote, read_history, roll_back, set_shadow, update_pointer
from training.delivery.publish import publish
from training.delivery.store_writer import (
    FolderStoreWriter,
    S3StoreWriter,
    read_current_pointer,
    read_if_there,
)
from training.errors import StageError

ROWS = Path("build/mini/rows/test.parquet")
ABSENT = "0123456789ab"

AnyStore = FolderStoreWriter | S3StoreWriter
Release = Callable[..., str]


@pytest.fixture(autouse=True)
def _in_the_project(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works where the mini scorer is declared and its rows lie; stores are elsewhere."""
    monkeypatch.chdir(trained)


@pytest.fixture
def release(folder_store: FolderStoreWriter, variant: Callable[..., Path]) -> Release:
    """Publishes another version, and returns it."""
    return lambda **changes: publish(folder_store, variant(**changes))


@pytest.fixture
def first(folder_store: FolderStoreWriter, release: Release) -> str:
    """A version that was promoted."""
    return promote(folder_store, "mini", release(), ROWS).current


@pytest.fixture
def second(release: Release) -> str:
    """A version that is released beside it, and as good."""
    return release(shift=0.01)


@pytest.fixture
def reversed_ranking(release: Release) -> str:
    """A version that is released beside it, and ranks the wrong way round."""
    return release(slope=-1)


@pytest.fixture
def narrower(folder_store: FolderStoreWriter, variant: Callable[..., Path]) -> str:
    """A version that is released beside it, and takes smaller amounts only."""
    folder = variant()
    contract = json.loads((folder / "manifest.json").read_bytes())["contract"]
    contract["fields"]["amount"]["max"] = 50_000.0
    rewrite_manifest(folder, contract=contract)
    return publish(folder_store, folder)


def pointer_bytes(store: AnyStore) -> bytes | None:
    """The pointer as the store has it."""
    return read_if_there(store, pointer_key("mini"))


def answers(store: AnyStore, version: str | None) -> list[str]:
    """What a version answers to its golden requests, to the last bit, but for its name."""
    scorer = load_released(store, "mini", str(version))
    requests = [scorer.request_model.model_validate(case["request"]) for case in scorer.bundle.golden]
    return [json.dumps(scorer.answer(request, explain=True)) for request in requests]


def test_a_first_promotion(store: AnyStore, mini_bundle: Path) -> None:
    """Where nothing was current, the promoted version is, and there is no previous one."""
    version = publish(store, mini_bundle)
    pointer = promote(store, "mini", version, ROWS)
    assert (pointer.serial, pointer.action) == (1, "promote")
    assert (pointer.current, pointer.previous, pointer.shadow) == (version, None, None)
    assert read_current_pointer(store, "mini")[0] == pointer


def test_the_former_current_one_is_the_previous(folder_store: FolderStoreWriter, first: str, second: str) -> None:
    """A second promotion keeps what it replaces as the previous version."""
    pointer = promote(folder_store, "mini", second, ROWS)
    assert (pointer.serial, pointer.current, pointer.previous) == (2, second, first)


def test_history_has_every_move(store: AnyStore, mini_bundle: Path, variant: Callable[..., Path]) -> None:
    """The pointers that moves returned are the history, the present one at its end."""
    versions = [publish(store, folder) for folder in (mini_bundle, variant(shift=0.01))]
    made = [promote(store, "mini", version, ROWS) for version in versions]
    made += [set_shadow(store, "mini", versions[0]), roll_back(store, "mini"), set_shadow(store, "mini", None)]
    assert read_history(store, "mini") == made
    assert [pointer.action for pointer in made] == ["promote", "promote", "shadow", "rollback", "shadow"]


def test_without_moves_there_is_no_history(store: AnyStore) -> None:
    """Nothing was ever current in an empty store."""
    assert read_history(store, "mini") == []
    assert read_current_pointer(store, "mini") == (None, None)


def test_a_pointer_says_who_moved_it_and_when(folder_store: FolderStoreWriter, first: str, commit: Callable) -> None:
    """A move has the name of who made it, and its moment in UTC."""
    commit("one")
    pointer = set_shadow(folder_store, "mini", None)
    assert (pointer.by, pointer.current) == ("Ada Example", first)
    assert pointer.at.endswith("Z")


def test_the_gates_numbers_are_kept(
    folder_store: FolderStoreWriter, first: str, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A promoted pointer has what the gate measured; by which rows it judges is told at once."""
    capsys.readouterr()
    gate = promote(folder_store, "mini", second, ROWS).gate
    assert (gate["frauds"], gate["objections"]) == (25, [])
    assert gate["average_precision"]["gain"] == 0
    printed = capsys.readouterr().out
    assert f"mini: {second} beside {first}, on 300 rows of {ROWS}" in printed


def test_the_file_by_which_the_gate_judged_is_kept(folder_store: FolderStoreWriter, first: str) -> None:  # noqa: ARG001 - the move
    """A promoted pointer names the file whose rows were the window."""
    assert str(ROWS) in read_current_pointer(folder_store, "mini")[0].gate.values()


def test_a_refusal_says_why(folder_store: FolderStoreWriter, first: str, reversed_ranking: str) -> None:  # noqa: ARG001 - the champion
    """A version that the gate objects to is not promoted; the objections and the way to overrule them are told."""
    with pytest.raises(StageError, match=rf"^{reversed_ranking} is not promoted: .*its average precision is") as raised:
        promote(folder_store, "mini", reversed_ranking, ROWS)
    assert str(raised.value).endswith("FORCE='a reason' overrules this, and is kept")


def test_a_refusal_changes_nothing(folder_store: FolderStoreWriter, first: str, reversed_ranking: str) -> None:  # noqa: ARG001 - the champion
    """After a refused promotion the pointer is the same to the byte, and the history has no move more."""
    before = pointer_bytes(folder_store)
    with pytest.raises(StageError):
        promote(folder_store, "mini", reversed_ranking, ROWS)
    assert pointer_bytes(folder_store) == before
    assert folder_store.names("mini/history") == []


def test_a_forced_promotion_keeps_its_reason(
    folder_store: FolderStoreWriter, first: str, reversed_ranking: str
) -> None:
    """A reason overrules the objections, and is kept beside them."""
    pointer = promote(folder_store, "mini", reversed_ranking, ROWS, force="a drill")
    assert (pointer.current, pointer.previous, pointer.reason) == (reversed_ranking, first, "a drill")
    assert any("average precision" in objection for objection in pointer.gate["objections"])


@pytest.mark.usefixtures("first")
def test_where_nothing_was_objected_there_is_no_reason(folder_store: FolderStoreWriter, second: str) -> None:
    """A reason given in advance is not kept where the gate did not ask for one."""
    pointer = promote(folder_store, "mini", second, ROWS, force="just in case")
    assert (pointer.current, pointer.reason) == (second, None)


def test_the_current_one_is_not_promoted_again(folder_store: FolderStoreWriter, first: str) -> None:
    """Promoting what is current would make it its own previous version."""
    with pytest.raises(StageError, match=f"^{first} is current already"):
        promote(folder_store, "mini", first, ROWS)
    assert read_current_pointer(folder_store, "mini")[0].serial == 1


def test_a_version_that_is_not_released_is_not_promoted(folder_store: FolderStoreWriter, first: str) -> None:  # noqa: ARG001 - the champion
    """What the store does not hold cannot be judged, forced or not."""
    with pytest.raises(
        StageError, match=rf"mini has no released version '{ABSENT}'; released are \w+ \(`make release`\)"
    ):
        promote(folder_store, "mini", ABSENT, ROWS, force="now")


@pytest.mark.parametrize("name", ["absent.parquet", "rows.csv"])
def test_rows_that_cannot_be_read_are_told(
    folder_store: FolderStoreWriter, second: str, tmp_path: Path, name: str
) -> None:
    """Without rows there is no promotion, and the error names the file."""
    (tmp_path / "rows.csv").write_text("at,amount\n1,2\n")
    with pytest.raises(StageError, match=rf"{name}, by which the gate judges, cannot be read"):
        promote(folder_store, "mini", second, tmp_path / name)
    assert pointer_bytes(folder_store) is None


def test_rows_of_another_kind_are_told(folder_store: FolderStoreWriter, second: str, tmp_path: Path) -> None:
    """Rows without the declared columns are a mistake of who named them, and end in a sentence."""
    pd.DataFrame({"amount": [1.0]}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(StageError):
        promote(folder_store, "mini", second, tmp_path / "rows.parquet")


def judging_while(then: Callable[[], object]) -> Callable[..., GateVerdict]:
    """A gate that finds nothing, and takes so long that something happens meanwhile."""

    def judge(*_: object) -> GateVerdict:
        then()
        return GateVerdict(GateMeasures())

    return judge


def test_a_pointer_that_moved_while_the_gate_judged_stays(
    folder_store: FolderStoreWriter, first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict on another champion than the present one promotes nothing."""
    monkeypatch.setattr(moves, "judge_challenger", judging_while(lambda: set_shadow(folder_store, "mini", second)))
    with pytest.raises(StageError, match="updated while the gate ran; promote again"):
        promote(folder_store, "mini", second, ROWS)
    pointer, _ = read_current_pointer(folder_store, "mini")
    assert (pointer.serial, pointer.current, pointer.shadow) == (2, first, second)


def test_a_first_pointer_that_came_while_the_gate_judged_stays(
    folder_store: FolderStoreWriter, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict without a champion promotes nothing where there is one by then."""
    mine, theirs = release(), release(shift=0.01)
    monkeypatch.setattr(
        moves,
        "judge_challenger",
        judging_while(lambda: update_pointer(folder_store, "mini", "promote", lambda _: {"current": theirs})),
    )
    with pytest.raises(StageError, match="updated while the gate ran; promote again"):
        promote(folder_store, "mini", mine, ROWS)
    assert read_current_pointer(folder_store, "mini")[0].current == theirs


def test_a_pointer_that_moved_between_look_and_write_stays(store: AnyStore) -> None:
    """Who reads the pointer, and writes it after somebody else did, is refused."""
    update_pointer(store, "mini", "shadow", lambda _: {"reason": "first"})

    def change(_: Pointer | None) -> dict[str, Any]:
        update_pointer(store, "mini", "shadow", lambda _: {"reason": "theirs"})
        return {"reason": "mine"}

    with pytest.raises(StageError, match="was updated by another writer"):
        update_pointer(store, "mini", "shadow", change)
    assert [pointer.reason for pointer in read_history(store, "mini")] == ["first", "theirs"]


def test_a_rollback_goes_to_the_previous_version(folder_store: FolderStoreWriter, first: str, second: str) -> None:
    """The version before is current again, and no gate is asked."""
    promote(folder_store, "mini", second, ROWS)
    pointer = roll_back(folder_store, "mini")
    assert (pointer.action, pointer.current, pointer.previous) == ("rollback", first, None)
    assert (pointer.reason, pointer.gate) == (None, None)


def test_a_rollback_brings_the_same_answers_back(folder_store: FolderStoreWriter, first: str, second: str) -> None:
    """Back and forth, each version answers what it answered before, bit for bit."""
    before = answers(folder_store, first)
    after = answers(folder_store, promote(folder_store, "mini", second, ROWS).current)
    assert before != after
    assert answers(folder_store, roll_back(folder_store, "mini").current) == before
    assert answers(folder_store, roll_back(folder_store, "mini", second).current) == after


def test_a_second_rollback_goes_further_back(
    folder_store: FolderStoreWriter, first: str, second: str, release: Release
) -> None:
    """Not to the version that was rolled back from, which is the one that failed."""
    promote(folder_store, "mini", second, ROWS)
    promote(folder_store, "mini", release(shift=0.02), ROWS)
    assert [roll_back(folder_store, "mini").current for _ in range(2)] == [second, first]
    with pytest.raises(StageError, match="has no previous version"):
        roll_back(folder_store, "mini")


def test_a_lost_pointer_goes_on_from_the_history(folder_store: FolderStoreWriter, first: str, second: str) -> None:
    """Its next move has a number that no former one has."""
    promote(folder_store, "mini", second, ROWS)
    (folder_store.root / "mini" / "pointer.json").unlink()
    assert promote(folder_store, "mini", first, ROWS, force="it was lost").serial == 2
    assert promote(folder_store, "mini", second, ROWS, force="and on").serial == 3


def test_a_damaged_pointer_is_replaced_by_force(folder_store: FolderStoreWriter, first: str, second: str) -> None:
    """Without a reason nothing is moved, and the error says how."""
    promote(folder_store, "mini", second, ROWS)
    (folder_store.root / "mini" / "pointer.json").write_bytes(b"{")
    with pytest.raises(
        StageError,
        match=r"is not a valid pointer: .*VERSION= and FORCE='a reason' replace it",
    ):
        roll_back(folder_store, "mini", first)
    assert roll_back(folder_store, "mini", second, force="it was damaged").current == second
    assert promote(folder_store, "mini", first, ROWS, force="and on").current == first


def test_there_is_nothing_to_go_back_to_at_first(folder_store: FolderStoreWriter) -> None:
    """Where nothing was ever current, nothing was before it."""
    with pytest.raises(StageError, match="mini has no previous version to go back to; `make releases` lists"):
        roll_back(folder_store, "mini")


@pytest.mark.usefixtures("first")
def test_there_is_nothing_to_go_back_to_after_the_first(folder_store: FolderStoreWriter) -> None:
    """The first version that serves has no previous one, and stays."""
    before = pointer_bytes(folder_store)
    with pytest.raises(StageError, match="mini has no previous version to go back to; `make releases` lists"):
        roll_back(folder_store, "mini")
    assert pointer_bytes(folder_store) == before


def test_a_rollback_to_a_named_version(
    folder_store: FolderStoreWriter, first: str, second: str, release: Release
) -> None:
    """Any version that the store holds may be named."""
    third = release(shift=0.02)
    for version in (second, third):
        promote(folder_store, "mini", version, ROWS)
    pointer = roll_back(folder_store, "mini", first)
    assert (pointer.current, pointer.previous) == (first, None)


def test_a_rollback_to_the_current_version_is_none(folder_store: FolderStoreWriter, first: str) -> None:
    """Naming what is current is told as a mistake."""
    with pytest.raises(StageError, match=f"^{first} is current already"):
        roll_back(folder_store, "mini", first)


def test_a_rollback_to_nothing_released_is_refused(folder_store: FolderStoreWriter, first: str) -> None:
    """A version that the store does not hold cannot serve; the pointer stays."""
    with pytest.raises(StageError, match=f"no released version '{ABSENT}'"):
        roll_back(folder_store, "mini", ABSENT, force="now")
    assert read_current_pointer(folder_store, "mini")[0].current == first


def test_a_rollback_that_breaks_the_contract_is_refused(
    folder_store: FolderStoreWriter, narrower: str, first: str
) -> None:
    """What callers were promised meanwhile is told, and the pointer stays."""
    with pytest.raises(
        StageError,
        match=rf"^{narrower} does not keep what {first} promises: its amountUsd has a maximum of 50000, not 100000\. ",
    ):
        roll_back(folder_store, "mini", narrower)
    assert read_current_pointer(folder_store, "mini")[0].current == first


def test_a_rollback_that_breaks_the_contract_may_be_forced(
    folder_store: FolderStoreWriter, narrower: str, first: str
) -> None:
    """A reason overrules the promise, and is kept."""
    pointer = roll_back(folder_store, "mini", narrower, force="the newer one fails")
    assert (pointer.current, pointer.previous, pointer.reason) == (narrower, first, "the newer one fails")


def test_a_damaged_version_can_be_left(folder_store: FolderStoreWriter, first: str, second: str) -> None:
    """Where the current version's files were damaged in the store, a reason brings the previous one back."""
    promote(folder_store, "mini", second, ROWS)
    (folder_store.root / "mini" / "bundles" / second / "model.ubj").write_bytes(b"damaged")
    assert roll_back(folder_store, "mini", force="the store is damaged").current == first


def test_a_shadow_is_set_and_unset(folder_store: FolderStoreWriter, first: str, second: str) -> None:
    """A shadow comes and goes beside the current version, which stays."""
    pointer = set_shadow(folder_store, "mini", second)
    assert (pointer.action, pointer.current, pointer.shadow) == ("shadow", first, second)
    pointer = set_shadow(folder_store, "mini", None)
    assert (pointer.action, pointer.current, pointer.shadow) == ("shadow", first, None)


def test_a_shadow_may_come_first(folder_store: FolderStoreWriter, second: str) -> None:
    """A version may be a shadow before anything of the store is current: what is deployed serves then."""
    pointer = set_shadow(folder_store, "mini", second)
    assert (pointer.serial, pointer.current, pointer.shadow) == (1, None, second)
    with pytest.raises(StageError, match="has no previous version"):
        roll_back(folder_store, "mini", second)


def test_the_current_version_is_no_shadow(folder_store: FolderStoreWriter, first: str) -> None:
    """A version beside itself would show nothing."""
    with pytest.raises(StageError, match=f"^{first} is current; it would be its own shadow"):
        set_shadow(folder_store, "mini", first)
    assert read_current_pointer(folder_store, "mini")[0].shadow is None


@pytest.mark.usefixtures("first")
def test_a_shadow_must_be_released(folder_store: FolderStoreWriter) -> None:
    """A version that the store does not hold is no shadow."""
    with pytest.raises(StageError, match=f"no released version '{ABSENT}'"):
        set_shadow(folder_store, "mini", ABSENT)
    assert read_current_pointer(folder_store, "mini")[0].shadow is None


def test_promoting_the_shadow_clears_it(folder_store: FolderStoreWriter, first: str, second: str) -> None:
    """What becomes current is no longer its shadow."""
    set_shadow(folder_store, "mini", second)
    pointer = promote(folder_store, "mini", second, ROWS)
    assert (pointer.current, pointer.previous, pointer.shadow) == (second, first, None)


@pytest.mark.usefixtures("first")
def test_another_shadow_stays(folder_store: FolderStoreWriter, second: str, release: Release) -> None:
    """Promoting one version leaves another as the shadow."""
    third = release(shift=0.02)
    set_shadow(folder_store, "mini", third)
    assert promote(folder_store, "mini", second, ROWS).shadow == third


def test_rolling_back_to_the_shadow_clears_it(folder_store: FolderStoreWriter, first: str, second: str) -> None:
    """Whichever way a version becomes current, it is not its own shadow."""
    promote(folder_store, "mini", second, ROWS)
    set_shadow(folder_store, "mini", first)
    pointer = roll_back(folder_store, "mini")
    assert (pointer.current, pointer.shadow) == (first, None)
