"""A DVC remote in S3: one clone pulls what another pushed, and trains nothing. Without one, DVC says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unmeasured import unmeasured_environment

PROJECT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def run(folder: Path, *command: str) -> str:
    """What a command prints in a folder; it must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=unmeasured_environment() | {"PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pushed(tmp_path: Path, bucket: str) -> Path:
    """A checkout whose remote, declared in its committed .dvc/config, holds all that the project's cache does."""
    checkout = tmp_path / "first"
    run(tmp_path, "git", "clone", "--quiet", str(PROJECT), str(checkout))
    # Changes that are not committed yet belong to it, too, because tests run before a commit.
    (tmp_path / "changes").write_text(run(PROJECT, "git", "diff", "HEAD", "--binary"))
    run(checkout, "git", "apply", "--allow-empty", str(tmp_path / "changes"))
    run(checkout, "dvc", "cache", "dir", "--local", run(PROJECT, "dvc", "cache", "dir").strip())
    run(checkout, "dvc", "remote", "add", "--default", "storage", f"s3://{bucket}/dvc")
    run(checkout, "dvc", "push", "--quiet")
    run(checkout, "git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-am", "A remote")
    return checkout


def test_a_fresh_clone_pulls_and_trains_nothing(pushed: Path, tmp_path: Path) -> None:
    """Data, bundles and all are there, as they were; `dvc repro` finds nothing to do."""
    clone = tmp_path / "second"
    run(tmp_path, "git", "clone", "--quiet", str(pushed), str(clone))
    assert not (clone / "data").exists()
    run(clone, "dvc", "pull", "--quiet")
    for folder in ("data", "build/bundles"):
        assert files_of(clone / folder) == files_of(PROJECT / folder)
    assert "up to date" in run(clone, "dvc", "status")
    assert "Running stage" not in run(clone, "dvc", "repro")
    assert run(clone, "git", "status", "--porcelain") == ""


def test_a_fresh_clone_without_a_remote_is_told(tmp_path: Path) -> None:
    """DVC says that there is none in the words that the pages quote; its settings and data.dvc name what to do."""
    run(tmp_path, "git", "clone", "--quiet", str(PROJECT), "clone")
    for name in (".dvc/config", "data.dvc"):
        # Changes that are not committed yet belong to it, too.
        shutil.copy(PROJECT / name, tmp_path / "clone" / name)
    # Ignore this machine's settings: a cache that they name may hold everything.
    settings = dict.fromkeys(("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"), str(tmp_path))
    done = subprocess.run(
        [BIN / "dvc", "pull"],
        cwd=tmp_path / "clone",
        env=unmeasured_environment() | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    words = "No remote provided and no default remote set"
    assert words in done.stderr + done.stdout
    assert f"`{words}`" in (PROJECT / "docs" / "releases.md").read_text()
    assert "`No remote provided`" in (PROJECT / "README.md").read_text()
    assert all("`make data`" in (tmp_path / "clone" / name).read_text() for name in (".dvc/config", "data.dvc"))
