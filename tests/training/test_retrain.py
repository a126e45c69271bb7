"""Retraining: what the gate says of the challenger, what is written of it, and that a failure leaves all as it was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.releases.store import read_pointer
from training import retrain
from training.delivery import releasing
from training.delivery.gate import AlertRates, Gain, GateMeasures
from training.delivery.pointer import promote
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter
from training.delivery.tracking import TrackError
from training.errors import DataError, StageError
from training.retrain import RetrainReport, as_markdown, challenge, retrain_lock, undone_on_failure


class NoTracker:
    """MLflow that cannot be reached."""

    def __init__(self) -> None:
        """Fail, as it does where the server is away."""
        raise TrackError("no answer")


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained project as the working folder, without MLflow."""
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(releasing, "Tracker", NoTracker)
    return folder


def test_a_first_model_serves(place: Path, folder_store: FolderStoreWriter) -> None:  # noqa: ARG001 - the working folder
    """Without a champion there is only the calibration to object to."""
    report = challenge(folder_store, "mini", is_candidate=False)
    assert report.objections == ()
    assert (report.version, report.champion) == (read_pointer(folder_store, "mini").current, None)


def test_a_better_model_takes_the_champions_place(
    place: Path,
    folder_store: FolderStoreWriter,
    variant: Callable[..., Path],
) -> None:
    """The pointer is updated, and keeps what the gate measured."""
    worse = publish(folder_store, variant(slope=-1))
    promote(folder_store, "mini", worse, place / "build/mini/rows/test.parquet", force="for a test")
    report = challenge(folder_store, "mini", is_candidate=False)
    pointer = read_pointer(folder_store, "mini")
    assert (report.champion, pointer.current, report.objections) == (worse, report.version, ())
    assert pointer.gate is not None
    assert report.measured.average_precision.content() == pointer.gate["average_precision"]


@pytest.mark.parametrize("is_candidate", [False, True])
def test_a_worse_model_is_released_but_does_not_serve(
    place: Path, folder_store: FolderStoreWriter, variant: Callable[..., Path], *, is_candidate: bool
) -> None:
    """The gate's objections come back, whether or not it would have been promoted."""
    champion = publish(folder_store, place / "build/bundles/mini")
    promote(folder_store, "mini", champion, place / "build/mini/rows/test.parquet")
    shutil.rmtree(place / "build/bundles/mini")
    shutil.copytree(variant(slope=-1), place / "build/bundles/mini")
    report = challenge(folder_store, "mini", is_candidate=is_candidate)
    assert any("its average precision is" in objection for objection in report.objections)
    assert read_pointer(folder_store, "mini").current == champion != report.version
    assert report.version in folder_store.names("mini/bundles")


def test_an_accepted_candidate_does_not_serve_yet(
    place: Path, folder_store: FolderStoreWriter, variant: Callable[..., Path]
) -> None:
    """It waits for the pull request to be merged."""
    champion = publish(folder_store, variant(slope=-1))
    promote(folder_store, "mini", champion, place / "build/mini/rows/test.parquet", force="for a test")
    report = challenge(folder_store, "mini", is_candidate=True)
    assert report.objections == ()
    assert read_pointer(folder_store, "mini").current == champion


def test_the_current_version_updates_nothing(place: Path, folder_store: FolderStoreWriter) -> None:
    """The same data make the same version."""
    version = publish(folder_store, place / "build/bundles/mini")
    before = promote(folder_store, "mini", version, place / "build/mini/rows/test.parquet")
    report = challenge(folder_store, "mini", is_candidate=False)
    assert (report.version, report.champion) == (version, version)
    assert report.objections == ()
    assert read_pointer(folder_store, "mini") == before


def run_retrain(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str | int | None:
    """What the command ends with."""
    monkeypatch.setattr("sys.argv", ["retrain", *arguments])
    with pytest.raises(SystemExit) as ended:
        retrain.main()
    return ended.value.code


def test_the_command_writes_the_verdict_and_ends_with_its_status(
    place: Path,
    folder_store: FolderStoreWriter,
    variant: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0 where the gate agrees, 3 where it refuses; retrain.json and .md say why."""
    monkeypatch.setattr(retrain, "dvc", lambda *_arguments: 0)  # nothing to reproduce: it is trained
    assert run_retrain(monkeypatch, "mini", "--store", str(folder_store)) == 0
    report = json.loads((place / "reports/mini/retrain.json").read_text())
    assert (report["verdict"], report["champion"], report["objections"]) == ("promote", None, [])
    shutil.rmtree(place / "build/bundles/mini")
    shutil.copytree(variant(slope=-1), place / "build/bundles/mini")
    assert run_retrain(monkeypatch, "mini", "--store", str(folder_store)) == retrain.REFUSED
    report = json.loads((place / "reports/mini/retrain.json").read_text())
    assert report["verdict"] == "refuse"
    text = (place / "reports/mini/retrain.md").read_text()
    assert "The gate refuses it:" in text
    assert f"- {report['objections'][0]}" in text


FAILING: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "no such scorer": (("none",), ["there is no scorers.none; declared are mini"]),
    "no such file": (("mini", "--rows", "absent.csv"), ["absent.csv does not exist; it must be a .csv or"]),
    "another kind of file": (("mini", "--rows", "new.json"), ["new.json does not exist; it must be a .csv or"]),
}


@pytest.mark.parametrize("case", FAILING)
@pytest.mark.usefixtures("place")
def test_a_mistake_is_one_sentence(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It names what is wrong and what would be right."""
    arguments, parts = FAILING[case]
    monkeypatch.setattr(retrain, "dvc", lambda *_arguments: 0)
    said = str(run_retrain(monkeypatch, *arguments, "--store", str(tmp_path / "store")))
    assert said.startswith("retrain: ")
    for part in parts:
        assert part in said


UNPINNED = {
    1: r"data/ is not what data\.dvc names: `dvc checkout data\.dvc` goes back",
    255: r"`dvc status data\.dvc` failed",
}


@pytest.mark.parametrize("status", UNPINNED)
@pytest.mark.parametrize("rows", [None, Path("new.parquet")])
@pytest.mark.usefixtures("place")
def test_changed_data_are_left_alone(
    folder_store: FolderStoreWriter, monkeypatch: pytest.MonkeyPatch, rows: Path | None, status: int
) -> None:
    """A failure would discard a user's own change, so only `dvc status` runs where there is one."""
    asked: list[Any] = []
    monkeypatch.setattr(retrain, "dvc", lambda *arguments: asked.append(arguments) or status)
    with pytest.raises(StageError, match=UNPINNED[status]):
        retrain.retrain("mini", rows, str(folder_store), is_candidate=False, signing_key="")
    assert asked == [("status", "--quiet", "data.dvc")]


def test_two_retrainings_cannot_run_at_once(place: Path) -> None:  # noqa: ARG001 - the working folder
    """The second ends with an error; after the first has ended, another may begin."""
    with retrain_lock(), pytest.raises(StageError, match="another retraining is running here"), retrain_lock():
        pass
    with retrain_lock():
        pass


def test_a_key_that_cannot_sign_is_noticed_before_training(
    place: Path,  # noqa: ARG001 - the working folder
    folder_store: FolderStoreWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DVC is asked for nothing."""
    asked: list[Any] = []
    monkeypatch.setattr(retrain, "dvc", lambda *arguments: asked.append(arguments) or 0)
    said = run_retrain(monkeypatch, "mini", "--store", str(folder_store), "--signing-key", "absent.pem")
    assert "absent.pem is not a private key" in str(said)
    assert asked == []


def test_nothing_new_has_a_status_of_its_own(
    place: Path, folder_store: FolderStoreWriter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows that are all in the data already, as a schedule may bring them, end with 4."""
    monkeypatch.setattr(retrain, "dvc", lambda *_arguments: 0)
    shutil.copy(place / "data/rows.parquet", "new.parquet")
    code = run_retrain(monkeypatch, "mini", "--rows", "new.parquet", "--store", str(folder_store))
    assert code == retrain.NOTHING_NEW
    assert "rows are in data/rows.parquet already" in capsys.readouterr().out


def test_ctrl_c_ends_without_a_traceback(
    place: Path,  # noqa: ARG001 - the working folder
    folder_store: FolderStoreWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the status that shells know."""

    def interrupted(*_arguments: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(retrain, "dvc", interrupted)
    assert run_retrain(monkeypatch, "mini", "--store", str(folder_store)) == retrain.INTERRUPTED


@pytest.mark.parametrize("status", [0, 1])
def test_a_failed_restore_is_reported(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """Reports are restored in either case; where DVC cannot restore the rest, the message names the command."""
    monkeypatch.setattr(retrain, "dvc", lambda *_arguments: status)
    report = place / "reports/mini/rows.json"
    before = report.read_bytes()

    def fail() -> None:
        with undone_on_failure():
            report.unlink()
            raise DataError("no")

    with pytest.raises(DataError):
        fail()
    assert report.read_bytes() == before
    assert ("not everything was restored: `dvc checkout data.dvc`" in capsys.readouterr().out) is bool(status)


def test_a_failure_restores_what_dvc_tracks(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """data.dvc and dvc.lock have their bytes again, and DVC is asked for the data that belong to them."""
    asked: list[Any] = []
    monkeypatch.setattr(retrain, "dvc", lambda *arguments: asked.append(arguments) or 0)
    (place / "data.dvc").write_text("before")

    def fail() -> None:
        with undone_on_failure():
            (place / "data.dvc").write_text("after")
            raise DataError("no")

    with pytest.raises(DataError):
        fail()
    assert (place / "data.dvc").read_text() == "before"
    assert asked == [("checkout", "--quiet", "--force")]


def test_the_markdown_shows_champion_and_challenger_side_by_side() -> None:
    """With the gain's interval, and the window that both were judged on."""
    gain = Gain(challenger=0.5, champion=0.25, gain=0.25, low=0.2, high=0.3)
    measured = GateMeasures(
        window=("2026-01-01T00:00:00", "2026-01-08T00:00:00"),
        rows=1200,
        frauds=30,
        alert_rate=AlertRates(challenger=0.02, champion=0.01),
        average_precision=gain,
        recall_at_the_alert_budget=gain,
        recall=gain,
    )
    text = as_markdown(
        RetrainReport(scorer="mini", version="new", champion="old", verdict="promote", objections=(), measured=measured)
    )
    assert "# mini: `new` beside `old`" in text
    assert "| average precision | 0.2500 | 0.5000 | +0.2500 (+0.2000 to +0.3000) |" in text
    assert "| alert rate | 1.00% | 2.00% |  |" in text
    assert "1,200 rows from 2026-01-01T00:00:00 to 2026-01-08T00:00:00, 30 of them frauds" in text


def test_no_scorer_is_a_mistake_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make retrain` alone hands an empty name on."""
    assert run_retrain(monkeypatch, "") == 2
    assert "SCORER= must name a scorer of params.yaml" in capsys.readouterr().err
