"""Retraining: the gate's verdict on the challenger, its report, and how a failure restores everything."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from handler.releases.store import read_pointer
from training import retrain
from training.delivery import releasing
from training.delivery.gate_verdict import AlertRates, BestFormer, Gain, GateMeasures
from training.delivery.pointer import promote
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter, read_current_pointer
from training.delivery.tracking import TrackError
from training.errors import StageError
from training.retrain import RetrainReport, challenge, pull_request_text, retrain_lock, undone_on_failure


def unreachable_tracker() -> None:
    """Raise the error of an MLflow server that does not answer."""
    raise TrackError("no answer")


@dataclass
class Retraining:
    """A copy of the trained project as the working folder, its store, and a stand-in for DVC that keeps its calls."""

    folder: Path
    store: FolderStoreWriter
    variant: Callable[..., Path]
    monkeypatch: pytest.MonkeyPatch
    dvc_output: str | StageError = "{}"
    dvc_calls: list[tuple[str, ...]] = field(default_factory=list)

    def dvc(self, *arguments: str) -> str:
        """Keep a call of DVC; returns or raises `dvc_output`."""
        self.dvc_calls.append(arguments)
        if isinstance(self.dvc_output, StageError):
            raise self.dvc_output
        return self.dvc_output

    def promote(self, bundle: Path, *, force: str | None = None) -> str:
        """Release and promote a bundle; returns its version."""
        version = publish(self.store, bundle)
        promote(self.store, "mini", version, self.folder / "build/mini/rows/test.parquet", force=force)
        return version

    def package(self, bundle: Path) -> None:
        """Replace the packaged bundle by another one."""
        shutil.rmtree(self.packaged)
        shutil.copytree(bundle, self.packaged)

    def run(self, *arguments: str) -> str | int | None:
        """Run the command; returns its exit status or message."""
        self.monkeypatch.setattr("sys.argv", ["retrain", *arguments, "--store", str(self.store)])
        with pytest.raises(SystemExit) as ended:
            retrain.main()
        return ended.value.code

    @property
    def packaged(self) -> Path:
        """The folder of the packaged bundle."""
        return self.folder / "build/bundles/mini"

    @property
    def report(self) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """The report that the command wrote."""
        return json.loads((self.folder / "reports/mini/retrain.json").read_text())


@pytest.fixture
def retraining(
    trained: Path,
    tmp_path: Path,
    folder_store: FolderStoreWriter,
    variant: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Retraining:
    """The trained project with an empty store, without MLflow and DVC."""
    folder = Path(shutil.copytree(trained, tmp_path / "project"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(releasing, "Tracker", unreachable_tracker)
    made = Retraining(folder, folder_store, variant, monkeypatch)
    monkeypatch.setattr(retrain, "run_dvc", made.dvc)
    monkeypatch.setattr(retrain, "reproduce", lambda: None)
    return made


def test_first_model_serves(retraining: Retraining) -> None:
    """Without a champion, the model's own policy decides; the same data give the same version and change nothing."""
    report = challenge(retraining.store, "mini", is_candidate=False)
    pointer = read_pointer(retraining.store, "mini")
    assert (report.version, report.champion, report.objections) == (pointer.current, None, ())
    again = challenge(retraining.store, "mini", is_candidate=False)
    assert (again.version, again.champion, again.objections) == (pointer.current, pointer.current, ())
    assert read_pointer(retraining.store, "mini") == pointer


@pytest.mark.parametrize("is_candidate", [False, True])
def test_better_model_is_promoted_unless_it_is_a_candidate(retraining: Retraining, *, is_candidate: bool) -> None:
    """The pointer keeps the gate's figures; a candidate waits until its pull request is merged."""
    worse = retraining.promote(retraining.variant(slope=-1), force="for a test")
    report = challenge(retraining.store, "mini", is_candidate=is_candidate)
    pointer = read_pointer(retraining.store, "mini")
    assert (report.champion, report.objections) == (worse, ())
    assert pointer.current == (worse if is_candidate else report.version)
    if not is_candidate:
        assert pointer.gate["average_precision"] == report.measured.average_precision.content()


@pytest.mark.parametrize("is_candidate", [False, True])
def test_worse_model_is_released_but_does_not_serve(retraining: Retraining, *, is_candidate: bool) -> None:
    """The gate's objections are reported, for candidates too."""
    champion = retraining.promote(retraining.packaged)
    retraining.package(retraining.variant(slope=-1))
    report = challenge(retraining.store, "mini", is_candidate=is_candidate)
    assert any("its average precision is" in objection for objection in report.objections)
    assert read_pointer(retraining.store, "mini").current == champion != report.version
    assert report.version in retraining.store.names("mini/bundles")


def test_command_writes_the_verdict_and_ends_with_its_status(retraining: Retraining) -> None:
    """The exit status is 0 if the gate agrees and 3 if it refuses; retrain.json and .md say why."""
    assert retraining.run("mini") == 0
    report = retraining.report
    assert (report["verdict"], report["champion"], report["objections"]) == ("promote", None, [])
    assert "| recall, promised 0.9 |  | " in (retraining.folder / "reports/mini/retrain.md").read_text()
    retraining.package(retraining.variant(slope=-1))
    assert retraining.run("mini") == retrain.REFUSED
    report = retraining.report
    assert report["verdict"] == "refuse"
    text = (retraining.folder / "reports/mini/retrain.md").read_text()
    assert "The gate refuses it:" in text
    assert f"- {report['objections'][0]}" in text


def test_command_says_where_the_gate_cannot_tell(retraining: Retraining) -> None:
    """The exit status differs from that of a refusal, because more rows would help."""
    params = retraining.folder / "params.yaml"
    params.write_text(params.read_text().replace("min_frauds: 20", "min_frauds: 26"))
    assert retraining.run("mini") == retrain.CANNOT_TELL == 5
    report = retraining.report
    doubt = "the window has 25 frauds, and gate.min_frauds is 26; declare a longer test window"
    assert (report["verdict"], report["objections"], report["doubts"]) == ("cannot tell", [], [doubt])
    text = (retraining.folder / "reports/mini/retrain.md").read_text()
    assert f"The gate cannot tell whether it is as good; more rows with labels would help:\n- {doubt}\n" in text
    assert read_current_pointer(retraining.store, "mini") == (None, None)


@pytest.mark.parametrize(
    ("arguments", "error", "dvc_commands"),
    [
        (("none",), "there is no scorers.none; the declared scorers are mini", []),
        (("mini", "--rows", "absent.csv"), "absent.csv does not exist; it must be a .csv or", ["status"]),
        (("mini", "--rows", "new.json"), "new.json does not exist; it must be a .csv or", ["status"]),
        (("mini", "--signing-key", "absent.pem"), "absent.pem is not a private key", []),
    ],
)
def test_mistake_is_one_sentence(
    retraining: Retraining, arguments: tuple[str, ...], error: str, dvc_commands: list[str]
) -> None:
    """The sentence names the mistake and a remedy, before anything is trained or would have to be restored."""
    printed = str(retraining.run(*arguments))
    assert printed.startswith("retrain: ")
    assert error in printed
    assert [call[0] for call in retraining.dvc_calls] == dvc_commands


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ('{"data.dvc": [{"changed outs": {"data": "modified"}}]}', r"data/ differs from the version that data\.dvc "),
        (StageError("`dvc status` failed: disk I/O error"), "failed: disk I/O error"),
    ],
    ids=["changed", "failed"],
)
@pytest.mark.parametrize("rows", [None, Path("new.parquet")])
def test_changed_data_are_left_alone(
    retraining: Retraining, rows: Path | None, output: str | StageError, error: str
) -> None:
    """A failure would discard a user's own changes of data, so nothing but `dvc status` runs."""
    retraining.dvc_output = output
    with pytest.raises(StageError, match=error):
        retrain.retrain("mini", rows, str(retraining.store), is_candidate=False, signing_key="")
    assert retraining.dvc_calls == [("status", "--json", "data.dvc")]


def test_dvc_says_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC's own words are shown, and if another DVC process keeps the lock for some seconds, its id."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=r"^`dvc status data\.dvc` failed: you are not inside of a DVC repository"):
        retrain.run_dvc("status", "data.dvc")
    monkeypatch.setattr(retrain, "LOCK_SECONDS", 0)
    process = os.getpid()
    with (
        Repo.init(no_scm=True) as repo,
        repo.lock,
        pytest.raises(StageError, match=rf"^another DVC process \(PID {process}\) is running here"),
    ):
        retrain.run_dvc("status")
    assert retrain.run_dvc("status", "--json") == "{}\n"


@pytest.mark.usefixtures("working_folder")
def test_two_retrainings_cannot_run_at_once() -> None:
    """The second one ends with an error; once the first has ended, another may start."""
    with retrain_lock(), pytest.raises(StageError, match="another retraining is running here"), retrain_lock():
        pass
    with retrain_lock():
        pass


def test_nothing_new_has_its_own_status(retraining: Retraining, capsys: pytest.CaptureFixture[str]) -> None:
    """If all new rows are in the data already, as on a schedule, the status is 4."""
    shutil.copy(retraining.folder / "data/rows.parquet", "new.parquet")
    assert retraining.run("mini", "--rows", "new.parquet") == retrain.NOTHING_NEW
    assert "rows are already in data/rows.parquet" in capsys.readouterr().out


def test_ctrl_c_ends_without_a_traceback(retraining: Retraining, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit status is the one that shells use for it."""

    def interrupted(*_arguments: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(retrain, "run_dvc", interrupted)
    assert retraining.run("mini") == retrain.INTERRUPTED


@pytest.mark.parametrize("output", ["", StageError("it has no cache")], ids=["restored", "failed"])
def test_failure_restores_everything(
    retraining: Retraining, capsys: pytest.CaptureFixture[str], output: str | StageError
) -> None:
    """Reports and data.dvc get their bytes back, and DVC restores the data; if it cannot, that is printed."""
    retraining.dvc_output = output
    report, pinned = retraining.folder / "reports/mini/rows.json", retraining.folder / "data.dvc"
    pinned.write_text("before")
    before = report.read_bytes()

    def fail() -> None:
        with undone_on_failure():
            report.unlink()
            pinned.write_text("after")
            raise StageError("no")

    with pytest.raises(StageError, match=r"^no$"):
        fail()
    assert (report.read_bytes(), pinned.read_text()) == (before, "before")
    assert retraining.dvc_calls == [("checkout", "--force")]
    printed = capsys.readouterr().out
    assert ("not everything was restored: `dvc checkout data.dvc`" in printed) is ("it has no cache" in printed)
    assert ("it has no cache" in printed) is isinstance(output, StageError)


def test_markdown_shows_champion_and_challenger_side_by_side() -> None:
    """The text has the gain's interval and the window that both were judged on."""
    gain = Gain(challenger=0.5, champion=0.25, gain=0.25, low=0.2, high=0.3)
    measured = GateMeasures(
        window=("2026-01-01T00:00:00", "2026-01-08T00:00:00"),
        rows=1200,
        frauds=30,
        alert_rate=AlertRates(challenger=0.02, champion=0.01),
        average_precision=gain,
        recall_at_the_alert_budget=gain,
        recall=gain,
        best_former=BestFormer(version="first", challenger=0.5, former=0.4, gain=0.1, low=0.0, high=0.2),
    )
    text = pull_request_text(
        RetrainReport(
            scorer="mini",
            version="new",
            champion="old",
            verdict="promote",
            objections=(),
            doubts=(),
            measured=measured,
        )
    )
    assert "# mini: `new` compared with `old`" in text
    assert "| average precision | 0.2500 | 0.5000 | +0.2500 (+0.2000 to +0.3000) |" in text
    best = (
        "| average precision, compared with the best release so far, `first` | 0.4000 | 0.5000 | +0.1000 (+0.0000 to "
        "+0.2000) |"
    )
    assert best in text
    assert "| alert rate | 1.00% | 2.00% |  |" in text
    assert "1,200 rows from 2026-01-01T00:00:00 to 2026-01-08T00:00:00, 30 of them frauds" in text


def test_scorer_must_be_named(retraining: Retraining, capsys: pytest.CaptureFixture[str]) -> None:
    """`make retrain` without SCORER passes an empty name."""
    assert retraining.run("") == 2
    assert "SCORER= must name a scorer of params.yaml" in capsys.readouterr().err
