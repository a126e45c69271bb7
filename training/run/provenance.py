"""Where a model comes from: commit, changed files, the hash of dvc.lock, and the libraries that computed it."""

import getpass
import hashlib
import os
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from training.run.progress import warn_once

LOCK = Path("dvc.lock")
# The repository must track this file for its commit to count; the project may lie within an unrelated repository.
CODE = Path(__file__).resolve()
# The packages that compute the numbers; XGBoost is installed as one of two packages.
COMPUTING = {
    *("xgboost", "xgboost-cpu", "scikit-learn", "imbalanced-learn"),
    *("numpy", "scipy", "pandas", "duckdb", "optuna"),
}


class GitError(Exception):
    """Raised with Git's own message if a Git command fails."""


def origin() -> dict[str, str | None]:
    """The commit of this checkout ("+changes" if files differ from it) and the hash of its dvc.lock, or None.

    If the commit is unknown, the reason is printed once, on stderr.
    """
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest() if LOCK.exists() else None
    return {"commit": _commit(), "dvc_lock_sha256": lock}


def libraries() -> dict[str, str]:
    """The installed versions of the packages that compute the numbers."""
    versions = {}
    for name in sorted(COMPUTING):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _commit() -> str | None:
    try:
        folder = _git("rev-parse", "--show-toplevel")
        if not _git("ls-files", "--", str(CODE)):
            warn_once(f"commit unknown: the Git repository {folder} does not track this project")
            return None
        commit = _git("rev-parse", "--verify", "HEAD")
        return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except GitError as error:
        warn_once(f"commit unknown: {error}")
        return None


def person() -> str:
    """The user's name in git's configuration, or else the login name, or the user id if there is none."""
    with suppress(GitError):
        if name := _git("config", "user.name"):
            return name
    try:
        return getpass.getuser()
    except OSError:
        return f"user {os.getuid()}"


def _git(*arguments: str) -> str:
    """The output of a git command; raises GitError if it fails, or git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - fixed arguments, wherever git is installed
    except OSError as error:
        raise GitError(f"git cannot be started: {error.strerror}") from error
    if done.returncode:
        raise GitError(" ".join(done.stderr.split()) or f"git {' '.join(arguments)} failed")
    return done.stdout.strip()


def code_version() -> str:
    """The SHA-256 of all code that an answer depends on: both packages, and the locks that pin what they import."""
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for package in ("handler", "training"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    for path in sorted(root.glob("requirements*.lock")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
