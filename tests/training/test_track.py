"""Runs, model versions and aliases in a real MLflow server follow a store's pointer."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from benchmarks.variants import contents_of, write_variant
from handler.releases.store import Pointer
from training import release, track
from training.delivery.pointer import promote, roll_back, set_shadow
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter
from training.delivery.tracking import Tracker, TrackError, UnreachableError, registered_name

NAME = registered_name("mini")
PROJECT = Path(__file__).parents[2]
ROWS = Path("build/mini/rows/test.parquet")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running `mlflow server`."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{folder}/db", "--artifacts-destination", str(folder / "artifacts")]
    # Its background jobs, which are not used here, would start ten processes.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *places], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx2.get(f"{address}/health", trust_env=False).raise_for_status()
                break
            except httpx2.TransportError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield address
    finally:
        # The server runs in processes of its own.
        os.killpg(process.pid, 15)
        process.wait(timeout=20)


@pytest.fixture
def project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained project, as the working folder."""
    folder = Path(shutil.copytree(trained, tmp_path / "project"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def tracker(server: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:  # noqa: ARG001 - the working folder
    """A tracker that is connected to the server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return Tracker()


def variant(project: Path, shift: float) -> None:
    """Replace the packaged bundle by another version, as a new training would."""
    bundle = project / "build" / "bundles" / "mini"
    write_variant(bundle, project / "new", shift=shift)
    shutil.rmtree(bundle)
    (project / "new").rename(bundle)


def aliases(tracker: Tracker) -> dict[str, Any]:
    """The bundle version that each alias names."""
    numbers = tracker.client.get_registered_model(NAME).aliases
    return {alias: tracker.client.get_model_version(NAME, n).tags["bundle_version"] for alias, n in numbers.items()}


def test_run_holds_what_was_trained(tracker: Tracker, project: Path) -> None:
    """Parameters, metrics with intervals, plots, card, bundle and origin are tracked, and only once if unchanged."""
    run_id = tracker.track("mini")
    run = tracker.client.get_run(run_id)
    metrics = json.loads((project / "reports/mini/metrics.json").read_text())
    assert run.data.metrics["average_precision"] == pytest.approx(metrics["average_precision"])
    assert run.data.metrics["average_precision_low"] <= run.data.metrics["average_precision"]
    assert run.data.params["resampling.method"] == '"smote"'
    assert {"git_commit", "dvc_lock_sha256", "bundle_version"} <= run.data.tags.keys()
    plots = {Path(entry.path).name for entry in tracker.client.list_artifacts(run_id, "plots")}
    assert {"precision_recall.png", "reliability.png"} <= plots
    bundle, packaged = Path(tracker.client.download_artifacts(run_id, "bundle")), project / "build/bundles/mini"
    assert {path.name for path in bundle.iterdir()} == {path.name for path in packaged.iterdir()}
    assert contents_of(bundle) == contents_of(packaged)
    assert Path(tracker.client.download_artifacts(run_id, "reports/card.md")).read_text().startswith("# ")
    assert tracker.track("mini") == run_id
    versions = tracker.client.search_model_versions(f"name = '{NAME}'")
    assert len(versions) == len({version.tags["bundle_version"] for version in versions})


def test_changed_lock_is_another_run(tracker: Tracker, project: Path) -> None:
    """With another lock and the same bundle, it is another run of the same version."""
    first = tracker.track("mini")
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    second = tracker.track("mini")
    assert first != second
    assert tracker.client.list_artifacts(second)[-1].path == "reports"
    tags = [tracker.client.get_run(run_id).data.tags["bundle_version"] for run_id in (first, second)]
    assert tags[0] == tags[1]


def test_aliases_follow_the_pointer(tracker: Tracker, project: Path, folder_store: FolderStoreWriter) -> None:
    """Aliases follow through promotions, a shadow and a rollback."""
    bundle = project / "build" / "bundles" / "mini"
    versions = []
    for shift in (0.0, 0.001, 0.002):
        variant(project, shift)
        tracker.track("mini")
        versions.append(publish(folder_store, bundle))
    first, second, third = versions
    for update, expected in (
        (lambda: promote(folder_store, "mini", first, ROWS, force="the first"), {"champion": first}),
        (lambda: set_shadow(folder_store, "mini", third), {"champion": first, "shadow": third}),
        (lambda: promote(folder_store, "mini", second, ROWS, force="the next"), {"champion": second, "shadow": third}),
        (lambda: roll_back(folder_store, "mini"), {"champion": first, "shadow": third}),
        (lambda: set_shadow(folder_store, "mini", None), {"champion": first}),
    ):
        tracker.point("mini", update())
        assert aliases(tracker) == expected


def test_commands_keep_the_server_up_to_date(
    project: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After release and promote, the champion alias names the packaged version."""
    variant(project, 0.003)
    for arguments in (["release"], ["promote", "--scorer", "mini", "--force", "a first"]):
        monkeypatch.setattr(sys, "argv", ["release", "--store", "store", *arguments])
        release.main()
    assert "WARNING" not in capsys.readouterr().out
    assert aliases(tracker)["champion"] == release.packaged_version("mini")


def test_unknown_version_is_an_error(tracker: Tracker, project: Path, folder_store: FolderStoreWriter) -> None:
    """The version was tracked elsewhere or never."""
    tracker.track("mini")
    write_variant(project / "build/bundles/mini", project / "other", shift=0.5)
    version = publish(folder_store, project / "other")
    with pytest.raises(TrackError, match=f"has no version {version}; run `make track` in the checkout"):
        tracker.point("mini", set_shadow(folder_store, "mini", version))


def test_unreachable_server_is_an_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - the working folder
    """The error comes soon and has the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UnreachableError, match=f"MLflow at http://127.0.0.1:{port}: .*`make track` brings it up"):
        Tracker().track("mini")


def test_deleted_experiment_is_named_with_its_remedy(tracker: Tracker) -> None:
    """Only restoring it helps, and the error says how."""
    tracker.track("mini")
    experiment = tracker.client.get_experiment_by_name(NAME).experiment_id
    tracker.client.delete_experiment(experiment)
    with pytest.raises(TrackError, match=rf"{NAME} of .* was deleted; .* restore -x {experiment}` restores it$"):
        tracker.track("mini")
    tracker.client.restore_experiment(experiment)
    assert tracker.track("mini")


@pytest.mark.usefixtures("project")
def test_run_of_another_job_is_left_alone(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the environment names another job's run or experiment, the scorer still gets its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    Path("dvc.lock").write_text("schema: '2.0' # another\n")
    tracker = Tracker()
    run = tracker.client.get_run(tracker.track("mini"))
    assert run.info.experiment_id == tracker.client.get_experiment_by_name(NAME).experiment_id


def test_missing_bundle_is_no_fault_of_mlflow(tracker: Tracker, project: Path) -> None:
    """The missing bundle is named, with the command that builds it."""
    shutil.rmtree(project / "build" / "bundles")
    with pytest.raises(TrackError, match=r"^build/bundles/mini/manifest\.json is missing; `make train` makes it$"):
        tracker.track("mini")


def test_one_scorer_keeps_no_other_from_being_tracked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every scorer that can be tracked is; then the command ends with the errors of the others."""

    class HalfTracker:
        address = "sqlite:///half.db"

        def track(self, scorer: str) -> str:
            if scorer == "transaction":
                raise TrackError("its experiment was deleted")
            return "1234"

        def point(self, _scorer: str, _pointer: Pointer) -> None:
            raise AssertionError("nothing is promoted")

    monkeypatch.setattr(track, "Tracker", HalfTracker)
    monkeypatch.setenv("STORE", str(tmp_path))
    monkeypatch.chdir(PROJECT)
    with pytest.raises(TrackError, match=r"^transaction: its experiment was deleted$"):
        track.main()
    assert "refund: run 1234 at sqlite:///half.db" in capsys.readouterr().out
