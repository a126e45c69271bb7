"""Where a model comes from: the commit and what differs from it, the lock's hash, who runs this."""

import getpass
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from training.run.provenance import origin, person

Commit = Callable[[str], str]


def test_commit_of_a_checkout(commit: Commit) -> None:
    """The commit is the one checked out, with changes where a tracked file differs; untracked files do not count."""
    assert origin()["commit"] is None
    first, second = commit("one"), commit("two")
    assert origin()["commit"] == second != first
    Path("notes.txt").write_text("mine")
    assert origin()["commit"] == second
    Path("kept.txt").write_text("another")
    assert origin()["commit"] == f"{second}+changes"
    assert person() == "Ada Example"


@pytest.mark.usefixtures("git_settings")
def test_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that is no checkout there is no commit, the person is the account's, and a lock has its hash."""
    monkeypatch.chdir(tmp_path)
    assert origin() == {"commit": None, "dvc_lock_sha256": None}
    assert person() == getpass.getuser()
    (tmp_path / "dvc.lock").write_bytes(b"schema: '2.0'\n")
    assert origin()["dvc_lock_sha256"] == hashlib.sha256(b"schema: '2.0'\n").hexdigest()


def test_without_git_there_is_no_commit(commit: Commit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine without git a release has no commit, and still a person who made it."""
    commit("one")
    monkeypatch.setenv("PATH", str(tmp_path / "no programs here"))
    assert origin()["commit"] is None
    assert person() == getpass.getuser()
