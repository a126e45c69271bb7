"""Provenance of a model: the commit and whether files differ from it, the lock's hash, and the person."""

import getpass
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from training.run import provenance
from training.run.progress import warn_once
from training.run.provenance import origin, person

Commit = Callable[[str], str]


@pytest.fixture(autouse=True)
def _nothing_said() -> None:
    """Let warnings be given again that an earlier test has caused."""
    warn_once.cache_clear()


def test_commit_of_a_checkout(commit: Commit) -> None:
    """The commit is the one checked out, marked if a tracked file differs; untracked files do not matter."""
    assert origin()["commit"] is None
    first, second = commit("one"), commit("two")
    assert origin()["commit"] == second != first
    Path("notes.txt").write_text("mine")
    assert origin()["commit"] == second
    Path("kept.txt").write_text("another")
    assert origin()["commit"] == f"{second}+changes"
    assert person() == "Ada Example"


def test_commit_of_another_repository_is_not_ours(
    commit: Commit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within another repository, there is only a commit if that repository tracks this project's files."""
    commit("theirs")
    folder = Path.cwd() / "unpacked"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert origin()["commit"]
    code = folder / "code.py"
    code.write_text("")
    monkeypatch.setattr(provenance, "CODE", code)
    assert origin()["commit"] is None
    assert origin()["commit"] is None
    assert capsys.readouterr().err == (
        f"commit unknown: the Git repository {folder.parent} does not track this project\n"
    )


@pytest.mark.usefixtures("git_settings")
def test_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside a checkout there is no commit, the person is the account's name, and a lock has its hash."""
    monkeypatch.chdir(tmp_path)
    assert origin() == {"commit": None, "dvc_lock_sha256": None}
    assert capsys.readouterr().err.startswith("commit unknown: fatal: not a git repository")
    assert person() == getpass.getuser()
    (tmp_path / "dvc.lock").write_bytes(b"schema: '2.0'\n")
    assert origin()["dvc_lock_sha256"] == hashlib.sha256(b"schema: '2.0'\n").hexdigest()


def test_without_git_there_is_no_commit(
    commit: Commit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without git, a release has no commit, but still a person."""
    commit("one")
    monkeypatch.setenv("PATH", str(tmp_path / "no programs here"))
    assert origin()["commit"] is None
    assert capsys.readouterr().err == "commit unknown: git cannot be started: No such file or directory\n"
    assert person() == getpass.getuser()


def test_refusal_of_git_is_said(commit: Commit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another user's checkout has no commit until Git trusts it; Git's own remedy is printed once."""
    commit("one")
    if os.geteuid():
        pytest.skip("only root can give a folder to another user")
    os.chown(tmp_path / "checkout", 12345, 12345)
    for _ in range(2):
        assert origin()["commit"] is None
    printed = capsys.readouterr().err
    assert printed.startswith("commit unknown: fatal: detected dubious ownership in repository at")
    assert printed.count("git config --global --add safe.directory") == 1
    assert printed.count("\n") == 1


def test_account_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container may run under a number without an account; that number is the person."""

    def nameless() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(getpass, "getuser", nameless)
    assert person() == f"user {os.getuid()}"
