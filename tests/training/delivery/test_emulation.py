"""A Python for another processor: what is fetched, and the message if it cannot be had."""

import os
from pathlib import Path

import pytest

from training.delivery.emulation import KEYRING, EmulationError, emulated_python

SAYS = "#!/bin/sh\n"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH: an apt-get and a dpkg-deb that do nothing, and an emulator."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("apt-get", "dpkg-deb", "qemu-aarch64-static"):
        tool(folder, name, "exit 0")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def tool(folder: Path, name: str, script: str) -> None:
    """Write a shell script as the command of this name."""
    (folder / name).write_text(SAYS + script + "\n")
    (folder / name).chmod(0o755)


def test_what_was_unpacked_is_not_fetched_again(tools: Path, tmp_path: Path) -> None:
    """An unpacked Python is used again, and the emulator gets the path of that processor's libraries."""
    tool(tools, "apt-get", "exit 1")
    python = tmp_path / "emulated/arm64/usr/bin/python3.13"
    python.parent.mkdir(parents=True)
    python.touch()
    root = str(tmp_path / "emulated/arm64")
    assert emulated_python("arm64", tmp_path / "emulated") == ["qemu-aarch64-static", "-L", root, str(python)]


@pytest.mark.parametrize(
    ("name", "script", "message"),
    [
        ("apt-get", None, "there is no apt-get; emulation needs Debian"),
        ("dpkg-deb", None, "there is no dpkg-deb; emulation needs Debian"),
        (
            "apt-get",
            "echo 'Ubuntu|Ubuntu|file:/archive'",
            f"apt has no Debian mirror, or {KEYRING} is missing; run apt-get update on a Debian system",
        ),
        ("apt-get", "echo first; echo 'E: no network' >&2; exit 100", "apt-get failed: E: no network"),
        ("apt-get", "exit 100", "apt-get failed: exit status 100"),
    ],
)
def test_why_there_is_none(tools: Path, tmp_path: Path, name: str, script: str | None, message: str) -> None:
    """The message is one sentence, and nothing half-unpacked is left that the next call would take for complete."""
    if script is None:
        (tools / name).unlink()
    else:
        tool(tools, name, script)
    with pytest.raises(EmulationError) as caught:
        emulated_python("arm64", tmp_path / "emulated")
    assert str(caught.value) == message
    assert not (tmp_path / "emulated" / "arm64").exists()


def test_only_root_installs_the_emulator(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other users get the command to run."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tools / "qemu-aarch64-static").unlink()
    with pytest.raises(EmulationError, match="qemu-user-static is missing: apt-get install qemu-user-static"):
        emulated_python("arm64", tmp_path)
