"""Where a model comes from: the commit, whether files differ from it, and the hash of dvc.lock."""

import getpass
import hashlib
import subprocess
from pathlib import Path

LOCK = Path("dvc.lock")


def origin() -> dict[str, str | None]:
    """The commit of this checkout ("+changes" where files differ from it) and the hash of its dvc.lock, or None."""
    commit = _git("rev-parse", "HEAD")
    if commit and _git("status", "--porcelain", "--untracked-files=no"):
        commit += "+changes"
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest() if LOCK.exists() else None
    return {"commit": commit, "dvc_lock_sha256": lock}


def person() -> str:
    """The name of the user in git's configuration, or else the login name."""
    return _git("config", "user.name") or getpass.getuser()


def _git(*arguments: str) -> str | None:
    """The output of a git command; None where it fails or prints nothing, or git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - fixed arguments, wherever git is installed
    except OSError:
        return None
    return (done.returncode == 0 and done.stdout.strip()) or None


def code_version() -> str:
    """The SHA-256 of all code that an answer depends on: both packages, and the locks that pin what they import."""
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for package in ("handler", "training"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    for path in sorted(root.glob("requirements*.lock")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
