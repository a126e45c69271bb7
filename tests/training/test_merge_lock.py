"""The merge of two branches' dvc.lock: by stage, and through Git with the settings that the page gives."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training import merge_lock
from training.merge_lock import HEAD, merged

PROJECT = Path(__file__).parents[2]
RELEASES = (PROJECT / "docs" / "releases.md").read_text(encoding="utf-8")


def lock(**stages: str) -> str:
    """A dvc.lock with a dependency and an output of each stage, whose hash begins with the given letters."""
    entry = (
        "  {}:\n    cmd: run\n    deps:\n    - path: code\n      md5: {}\n    outs:\n    - path: out\n      md5: {}\n"
    )
    return HEAD + "".join(entry.format(stage, letters[0], letters[1]) for stage, letters in stages.items())


@pytest.mark.parametrize(
    ("ours", "theirs", "expected", "left_out"),
    [
        pytest.param(lock(a="11", b="00"), lock(a="00", b="22"), lock(a="11", b="22"), [], id="another stage each"),
        pytest.param(lock(a="11", b="00"), lock(a="11", b="00"), lock(a="11", b="00"), [], id="the same change"),
        pytest.param(lock(a="11", b="00"), lock(a="12", b="00"), lock(b="00"), ["a"], id="the same stage"),
        # Line by line these would make an entry of no run: their code beside our output.
        pytest.param(lock(a="01", b="00"), lock(a="20", b="00"), lock(b="00"), ["a"], id="other lines of it"),
        pytest.param(lock(a="00", b="00", c="11"), lock(b="00"), lock(b="00", c="11"), [], id="added, removed"),
        pytest.param(lock(b="00"), lock(a="22", b="00"), lock(b="00"), ["a"], id="removed and changed"),
        pytest.param(lock(a="00", b="00", c="11"), lock(a="00", b="00", c="22"), lock(a="00", b="00"), ["c"], id="new"),
    ],
)
def test_entries_are_taken_whole(ours: str, theirs: str, expected: str, left_out: list[str]) -> None:
    """An entry that one branch changed is taken; one that both changed differently is left out, whoever merges whom."""
    ancestor = lock(a="00", b="00")
    assert merged(ancestor, ours, theirs) == (expected, left_out)
    assert merged(ancestor, theirs, ours)[1] == left_out


def test_the_shipped_lock_stays_as_it_is() -> None:
    """Nothing is lost or written otherwise where nothing changed, and a first lock has no ancestor."""
    text = (PROJECT / "dvc.lock").read_text()
    assert merged(text, text, text) == (text, [])
    assert merged("", text, "") == (text, [])


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git then leaves our file and reports a conflict."""
    paths = [tmp_path / name for name in ("ancestor", "ours", "theirs")]
    for path in paths:
        path.write_text("schema: '3.0'\n")
    monkeypatch.setattr(sys, "argv", ["merge_lock", *map(str, paths)])
    with pytest.raises(SystemExit, match=r"dvc\.lock: begins with \"schema: '3\.0'.*merge it by hand"):
        merge_lock.main()


def test_git_merges_by_the_documented_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two branches that ran the same stage merge without a conflict, and are told what to run."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    git("init", "--quiet", "--initial-branch", "main")
    settings = re.findall(r"^\$ git config (merge\.[\w.-]+) '([^']+)'", RELEASES, re.MULTILINE)
    assert [name for name, _ in settings] == ["merge.dvc.driver", "merge.dvc-lock.driver"]
    for name, value in (*settings, ("user.name", "Ada Example"), ("user.email", "ada@example.com")):
        git("config", name, value)
    shutil.copy(PROJECT / ".gitattributes", tmp_path)

    def commit(text: str) -> None:
        (tmp_path / "dvc.lock").write_text(text)
        git("add", ".")
        git("commit", "--quiet", "--message", "A run")

    commit(lock(a="00", b="00", c="00"))
    git("switch", "--quiet", "--create", "other")
    commit(lock(a="20", b="22", c="00"))
    git("switch", "--quiet", "main")
    commit(lock(a="01", b="00", c="11"))
    assert "dvc.lock: both branches changed a: run `dvc repro`" in git("merge", "--no-edit", "other")
    assert (tmp_path / "dvc.lock").read_text() == lock(b="22", c="11")
