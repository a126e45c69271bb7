"""The release command: run as by a user, its output, and one sentence for every mistake."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from handler.releases.store import MAX_POINTER_BYTES, Pointer, read_pointer
from handler.scoring.bundle import MANIFEST
from training import release
from training.delivery import releasing
from training.delivery.pointer import read_history
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter, open_store_writer
from training.delivery.tracking import TrackError

PROJECT = Path(__file__).parents[2]
ABSENT = "0123456789ab"


class FakeTracker:
    """A stand-in for MLflow that keeps its calls."""

    address = "sqlite:///fake.db"

    def __init__(self) -> None:
        """Start without calls; `error` makes every call fail."""
        self.tracked: list[str] = []
        self.pointed: list[tuple[str, Pointer]] = []
        self.error: TrackError | None = None

    def track(self, scorer: str) -> str:
        """Keep the call; returns the id of a run."""
        self._fail()
        self.tracked.append(scorer)
        return f"run-of-{scorer}"

    def point(self, scorer: str, pointer: Pointer) -> None:
        """Keep the call."""
        self._fail()
        self.pointed.append((scorer, pointer))

    def _fail(self) -> None:
        if self.error:
            raise self.error


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> FakeTracker:
    """Replace MLflow, which takes seconds to import, by a stand-in."""
    fake = FakeTracker()
    monkeypatch.setattr(releasing, "Tracker", lambda: fake)
    return fake


Command = Callable[..., str]


@pytest.fixture
def command(
    tracker: FakeTracker,  # noqa: ARG001 - which the command meets
    trained: Path,
    folder_store: FolderStoreWriter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run the command in the trained project with a store elsewhere; returns its output."""
    monkeypatch.chdir(trained)

    def run(*arguments: str, store: str = str(folder_store)) -> str:
        monkeypatch.setattr(sys, "argv", ["release", "--store", store, *arguments])
        release.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def second(folder_store: FolderStoreWriter, variant: Callable[..., Path]) -> str:
    """Another released version, as good as the packaged one."""
    return publish(folder_store, variant(shift=0.01))


@pytest.fixture
def packaged(command: Command) -> str:
    """The packaged version, released and promoted."""
    command("release")
    command("promote")
    return release.packaged_version("mini")


def test_refusal_ends_the_process_with_its_sentence(
    command: Command, trained: Path, variant: Callable[..., Path], folder_store: FolderStoreWriter, packaged: str
) -> None:
    """The exit status is 1, with both models' numbers and no traceback; a reason overrules the gate and is kept."""
    worse = publish(folder_store, variant(slope=-1))
    done = subprocess.run(
        [sys.executable, "-m", "training.release", "--store", str(folder_store), "promote", "--version", worse],
        cwd=trained,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"promote: {worse} is not promoted: ")
    assert "its average precision is 0." in done.stderr
    assert ", the champion's 0." in done.stderr
    assert "Traceback" not in done.stderr
    assert read_pointer(folder_store, "mini").current == packaged
    printed = command("promote", "--version", worse, "--force", "a drill")
    assert printed.endswith(f"mini: current {worse}, previous {packaged}, shadow None\n")
    assert read_pointer(folder_store, "mini").reason == "a drill"


def test_release_publishes_and_tracks(command: Command, tracker: FakeTracker, folder_store: FolderStoreWriter) -> None:
    """The packaged bundle of every declared scorer is put into the store, and no pointer is updated."""
    printed = command("release")
    version = release.packaged_version("mini")
    assert folder_store.names("mini/bundles") == [version]
    assert printed == (
        f"mini: {version} is in {folder_store}; `make promote` puts it into production\n"
        "mini: run run-of-mini at sqlite:///fake.db\n"
    )
    assert tracker.tracked == ["mini"]
    assert read_history(folder_store, "mini") == []


def test_store_is_updated_without_mlflow(
    command: Command, tracker: FakeTracker, folder_store: FolderStoreWriter
) -> None:
    """If MLflow cannot be reached, releases and updates still succeed, with a warning."""
    tracker.error = TrackError("connection refused")
    version = release.packaged_version("mini")
    assert command("release").endswith(f"WARNING: {version} is released, but not tracked: connection refused\n")
    assert folder_store.names("mini/bundles") == [version]
    printed = command("shadow")
    assert printed.endswith("WARNING: the store is updated, but MLflow is not: connection refused\n")
    assert read_pointer(folder_store, "mini").shadow == version


def test_promotion_takes_the_packaged_version(
    command: Command, tracker: FakeTracker, folder_store: FolderStoreWriter, second: str
) -> None:
    """Without --version the packaged version is promoted, and MLflow gets every update."""
    command("release")
    command("promote")
    assert read_pointer(folder_store, "mini").current == release.packaged_version("mini") != second
    command("shadow", "--version", "none")
    assert tracker.pointed == [("mini", pointer) for pointer in read_history(folder_store, "mini")]
    assert len(tracker.pointed) == 2


def test_rollback_and_shadow_take_a_version_and_a_reason(
    command: Command, folder_store: FolderStoreWriter, packaged: str, second: str
) -> None:
    """Each command prints the pointer; "none" clears the shadow, and a rollback keeps its reason."""
    assert command("shadow", "--version", second) == f"mini: current {packaged}, previous None, shadow {second}\n"
    assert command("shadow", "--version", "none") == f"mini: current {packaged}, previous None, shadow None\n"
    assert command("rollback", "--version", second) == f"mini: current {second}, previous {packaged}, shadow None\n"
    printed = command("rollback", "--force", "too many alerts")
    assert printed == f"mini: current {packaged}, previous None, shadow None\n"
    assert read_pointer(folder_store, "mini").reason == "too many alerts"


def test_list_has_each_version_with_its_role_and_metrics(
    command: Command, folder_store: FolderStoreWriter, packaged: str, second: str, variant: Callable[..., Path]
) -> None:
    """Each version has a line with its role, if any, and the metrics of its evaluation."""
    third, fourth = (publish(folder_store, variant(shift=shift)) for shift in (0.02, 0.03))
    command("promote", "--version", second)
    command("shadow", "--version", third)
    lines = command("list").splitlines()
    assert lines[0] == f"mini in {folder_store}"
    assert lines[1].split() == ["version", "now", "released", "commit", "AP", "recall", "precision", "alerts", "by"]
    by_version = {line.split()[0]: line for line in lines[2:6]}
    roles = {version: line[14:23].strip() for version, line in by_version.items()}
    assert roles == {second: "current", packaged: "previous", third: "shadow", fourth: ""}
    metrics = json.loads(folder_store.read(f"mini/releases/{second}.json", MAX_POINTER_BYTES))["metrics"]
    names = ("average_precision", "recall", "precision", "alert_rate")
    assert by_version[second].split()[4:8] == [f"{metrics[name]:.4f}" for name in names]


def test_list_has_the_latest_release_first(command: Command, folder_store: FolderStoreWriter, second: str) -> None:
    """Versions are listed by the time of their release, not by name."""
    command("release")
    folder = folder_store.root / "mini" / "releases"
    notes = {name: folder / f"{name}.json" for name in folder_store.names("mini/bundles")}
    for year, name in zip((2031, 2030), sorted(notes), strict=True):
        note = json.loads(notes[name].read_bytes())
        notes[name].write_text(json.dumps({**note, "at": f"{year}-01-01T00:00:00Z"}))
    listed = [line.split()[0] for line in command("list").splitlines()[2:]]
    assert listed == sorted([second, release.packaged_version("mini")])


def test_list_marks_a_commit_with_changes(
    folder_store: FolderStoreWriter, variant: Callable[..., Path], commit: Callable[[str], str]
) -> None:
    """A version has its shortened commit, with a + if files differed from it."""
    head = commit("one")
    Path("kept.txt").write_text("another")
    publish(folder_store, variant(shift=0.01))
    assert f" {head[:7]}+ " in releasing.list_releases(folder_store, "mini")


def test_list_has_every_update_with_its_reason(
    command: Command, folder_store: FolderStoreWriter, packaged: str, second: str
) -> None:
    """Updates of the pointer follow the versions, the latest first, with shadows and reasons."""
    command("shadow", "--version", second)
    command("rollback", "--version", second, "--force", "a drill")
    updates = read_history(folder_store, "mini")
    assert command("list").splitlines()[-3:] == [
        f"{updates[2].at} rollback -> {second}, by {updates[2].by}: a drill",
        f"{updates[1].at} shadow -> {packaged}, shadow {second}, by {updates[1].by}",
        f"{updates[0].at} promote -> {packaged}, by {updates[0].by}",
    ]


def test_address_without_a_store_is_told(
    command: Command, folder_store: FolderStoreWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a release, or at a wrong address, nothing is listed; STORE applies without --store."""
    with pytest.raises(
        SystemExit, match=r"^list: there is no store at .*/store, or it holds no release of mini; publish"
    ):
        command("list")
    assert not folder_store.root.exists()
    monkeypatch.setenv("STORE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(sys, "argv", ["release", "list"])
    with pytest.raises(SystemExit, match=r"there is no store at .*/elsewhere"):
        release.main()


def test_store_in_s3(command: Command, bucket: str) -> None:
    """A prefix of a bucket works like a folder."""
    store = f"s3://{bucket}/models"
    command("release", store=store)
    command("promote", store=store)
    version = release.packaged_version("mini")
    assert read_pointer(open_store_writer(store), "mini").current == version
    assert f"{version}  current" in command("list", store=store)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("list --scorer nobody", "list: .*nobody"),
        (f"promote --version {ABSENT}", rf"promote: mini has no released version '{ABSENT}'; the released ones are"),
        ("promote --rows absent.parquet", "promote: the gate's rows, absent.parquet, cannot be read"),
        ("rollback", "rollback: mini has no previous version to go back to"),
        (f"shadow --version {ABSENT}", rf"shadow: mini has no released version '{ABSENT}'; the released ones are"),
        ("release --signing-key absent.pem", r"release: absent\.pem is not a private key in PEM "),
    ],
)
def test_mistake_is_one_sentence(command: Command, arguments: str, error: str) -> None:
    """A command that cannot be carried out ends with a sentence."""
    command("release")
    with pytest.raises(SystemExit, match=rf"^{error}"):
        command(*arguments.split())


def test_unusable_store_is_one_sentence(command: Command, folder_store: FolderStoreWriter) -> None:
    """An unknown kind of store and a damaged pointer are named with what is allowed."""
    with pytest.raises(SystemExit, match=r"^list: STORE is 'gs://models'; it must be a folder, or s3://bucket or"):
        command("list", store="gs://models")
    folder_store.exchange_pointer("mini", b"{}", None)
    with pytest.raises(SystemExit, match=r"^list: .*mini/pointer\.json is not a valid pointer: "):
        command("list")


@pytest.mark.parametrize("name", ["release", "documents", "promote", "shadow"])
def test_without_a_packaged_bundle_nothing_is_released(
    command: Command, project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """If nothing was trained, the error names the missing manifest."""
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit, match=rf"^{name}: build/bundles/mini/manifest\.json cannot be read: No such file"):
        command(name)


def test_one_of_several_scorers_must_be_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several declared scorers, an update needs a named one."""
    monkeypatch.chdir(PROJECT)
    with pytest.raises(SystemExit, match=r"^promote: SCORER= must name one of transaction, refund$"):
        command("promote")


def test_the_card_of_a_release(
    command: Command, variant: Callable[..., Path], folder_store: FolderStoreWriter, packaged: str, tmp_path: Path
) -> None:
    """The card has authors, approval, predecessor, changes and customer reasons, by default of the current version."""
    contract = json.loads((variant(shift=0.02) / MANIFEST).read_text())["contract"]
    contract["fields"]["visits"]["reason"] = {"code": "V1", "text": "Too many visits."}
    contract["fields"]["amount"]["changeable"] = True
    challenger = publish(folder_store, variant(shift=0.01, contract=contract))
    command("promote", "--version", challenger)
    assert f"mini-{challenger}.md, .html and .json" in command("card", "--scorer", "mini", "--out", str(tmp_path))
    card = json.loads((tmp_path / f"mini-{challenger}.json").read_text())
    pointer = read_pointer(folder_store, "mini")
    assert (card["role"], card["predecessor"], card["owner"], card["signatures"]) == ("current", packaged, None, 0)
    assert card["approval"] == {"at": pointer.at, "by": pointer.by, "forced": None, "objections": [], "doubts": []}
    assert "fields declared differently: amount, visits" in card["changes"]
    assert any(change.startswith("calibration: slope") for change in card["changes"])
    assert card["customer_reasons"] == {"visits": {"code": "V1", "text": "Too many visits."}}
    assert card["metrics"]["recall"]["before"] == card["metrics"]["recall"]["value"]
    text = (tmp_path / f"mini-{challenger}.md").read_text()
    for sentence in (
        f"# Release card: mini `{challenger}`, now the current version",
        "not to decide who may be a customer",
        "- V1, of visits: Too many visits.",
        "Which smallest change of amount would have led to another answer",
    ):
        assert sentence in text
    assert "<html" in (tmp_path / f"mini-{challenger}.html").read_text()
    command("card", "--scorer", "mini", "--version", packaged, "--out", str(tmp_path))
    first = (tmp_path / f"mini-{packaged}.md").read_text()
    assert "It has no predecessor." in first
    assert "No reasons for customers are declared." in first


def test_the_documents_without_a_store(
    command: Command, folder_store: FolderStoreWriter, packaged: str, tmp_path: Path
) -> None:
    """The packaged bundle's documents, named by scorer and version, equal those of its release in the store."""
    out = tmp_path / "new" / "folder"
    paths = [out / f"mini-{packaged}.{ending}" for ending in ("openapi.json", "cdx.json")]
    printed = command("documents", "--out", str(out), store=str(tmp_path / "no store"))
    assert printed.splitlines() == [str(path) for path in paths]
    assert sorted(out.iterdir()) == sorted(paths)
    for path in paths:
        released = folder_store.root / "mini" / "releases" / path.name.removeprefix("mini-")
        assert path.read_bytes() == released.read_bytes()
    assert not (tmp_path / "no store").exists()


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize("name", ["documents", "card"])
def test_a_file_in_place_of_the_folder_is_one_sentence(command: Command, tmp_path: Path, name: str) -> None:
    """OUT itself, or a folder above it, may be a file."""
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            SystemExit, match=rf"^{name}: OUT is {out}, but a file is in the way; it must name a folder"
        ):
            command(name, "--out", str(out))
    assert (tmp_path / "file").read_text() == "kept"


def test_a_release_that_was_forced_says_so(
    command: Command, variant: Callable[..., Path], folder_store: FolderStoreWriter, packaged: str, tmp_path: Path
) -> None:
    """The card has the reason and the gate's objections; a version that never served has no approval."""
    worse = publish(folder_store, variant(slope=-1))
    command("card", "--scorer", "mini", "--version", worse, "--out", str(tmp_path))
    assert "never in production" in (tmp_path / f"mini-{worse}.md").read_text()
    command("promote", "--version", worse, "--force", "a drill")
    command("card", "--scorer", "mini", "--out", str(tmp_path))
    text = (tmp_path / f"mini-{worse}.md").read_text()
    assert "**The update was forced, with this reason: a drill.**" in text
    assert "- the gate objected: its average precision is" in text
    assert packaged in text


def test_the_card_after_a_rollback(
    command: Command, second: str, folder_store: FolderStoreWriter, packaged: str, tmp_path: Path
) -> None:
    """The card has the last update that made the version current, and the version that it replaced."""
    command("promote", "--version", second)
    command("rollback")
    command("card", "--scorer", "mini", "--out", str(tmp_path))
    card = json.loads((tmp_path / f"mini-{packaged}.json").read_text())
    assert (card["role"], card["predecessor"]) == ("current", second)
    assert card["approval"]["at"] == read_pointer(folder_store, "mini").at
    assert card["libraries"]["scikit-learn"].count(".") == 2


def test_a_card_of_nothing_is_refused(command: Command) -> None:
    """A card is refused if no version is in production, or for a version that was never released."""
    command("release")
    with pytest.raises(SystemExit, match="no version of mini is in production; set VERSION= to one that `make rel"):
        command("card", "--scorer", "mini")
    with pytest.raises(SystemExit, match=f"{ABSENT} of mini is not in .*; `make releases` lists what there is"):
        command("card", "--scorer", "mini", "--version", ABSENT)
