"""Where a model comes from: the commit and what differs from it, the lock's hash, who runs this."""

import getpass
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from training.run.provenance import origin, person

Commit = Callable[[str], str]


def test_a_clean_checkout_is_its_commit(commit: Commit) -> None:
    """The commit is the one that is checked out, nothing added to it."""
    first, second = commit("one"), commit("two")
    assert origin()["commit"] == second != first


def test_a_changed_file_is_told(commit: Commit) -> None:
    """A file that differs from the commit makes it a commit with changes."""
    head = commit("one")
    Path("kept.txt").write_text("another")
    assert origin()["commit"] == f"{head}+changes"


def test_an_untracked_file_is_no_change(commit: Commit) -> None:
    """What git does not know, such as data and bundles, changes nothing of the commit."""
    head = commit("one")
    Path("notes.txt").write_text("mine")
    assert origin()["commit"] == head


def test_a_checkout_without_a_commit_has_none(commit: Commit) -> None:  # noqa: ARG001 - the empty checkout
    """Before the first commit there is none to name."""
    assert origin()["commit"] is None


@pytest.mark.usefixtures("git_settings")
def test_no_commit_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that is no checkout, there is neither a commit nor a lock."""
    monkeypatch.chdir(tmp_path)
    assert origin() == {"commit": None, "dvc_lock_sha256": None}


def test_the_locks_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash is that of the bytes of the dvc.lock that lies here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.lock").write_bytes(b"schema: '2.0'\n")
    assert origin()["dvc_lock_sha256"] == hashlib.sha256(b"schema: '2.0'\n").hexdigest()


def test_a_person_is_who_git_knows(commit: Commit) -> None:  # noqa: ARG001 - the checkout with a name
    """Who runs this has the name that git signs commits with."""
    assert person() == "Ada Example"


@pytest.mark.usefixtures("git_settings")
def test_a_person_without_a_name_is_the_systems_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git knows no name, it is the account's."""
    monkeypatch.chdir(tmp_path)
    assert person() == getpass.getuser()


def test_without_git_there_is_no_commit(commit: Commit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine without git a release has no commit, and still somebody who made it."""
    commit("one")
    monkeypatch.setenv("PATH", str(tmp_path / "no programs here"))
    assert origin()["commit"] is None
    assert person() == getpass.getuser()
