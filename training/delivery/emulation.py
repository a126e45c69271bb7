"""The Python of a processor: this machine's own, or that of Debian's signed packages under QEMU's emulation.

Python 3.13 is the default of Debian 13, whose packages are unpacked into a folder of this project; only the emulator
itself is installed.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SUITE = "trixie"
# XGBoost's library needs libstdc++, which Lambda's image contains, too.
PACKAGES = ("python3.13", "libstdc++6")
DEBIAN_NAMES = {"x86_64": "amd64", "arm64": "arm64"}
QEMU_NAMES = {"x86_64": "x86_64", "arm64": "aarch64"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LONGEST_MESSAGE = 300
# Where the other processor's Python is unpacked.
EMULATED = Path(__file__).parents[2] / ".emulated"


class EmulationError(Exception):
    """Raised when a processor's Python is not available, with the reason in a few words."""


def interpreter(architecture: str) -> list[str]:
    """A Python that runs a processor's artifact; raises EmulationError if none is available."""
    return [sys.executable] if architecture == own_architecture() else emulated_python(architecture, EMULATED)


def own_architecture() -> str:
    """The processor of this machine, by Lambda's name."""
    return platform.machine().replace("aarch64", "arm64")


def emulated_python(architecture: str, folder: Path) -> list[str]:
    """The beginning of a command that runs Python 3.13 of a processor (x86_64 or arm64) on this machine.

    Its packages, some 15 MB, are fetched into `folder` once. The emulator is installed if that is allowed (root).
    Raises EmulationError if one of them is not available.
    """
    emulator = f"qemu-{QEMU_NAMES[architecture]}-static"
    root = folder.resolve() / architecture
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise EmulationError(f"there is no {tool}; emulation needs Debian")
    if shutil.which(emulator) is None:
        _install("qemu-user-static")
    if not (root / "usr/bin/python3.13").exists():
        _unpack(DEBIAN_NAMES[architecture], root)
    return [emulator, "-L", str(root), str(root / "usr/bin/python3.13")]


def _install(package: str) -> None:
    """Install one of Debian's packages."""
    if os.geteuid() != 0:
        raise EmulationError(f"{package} is missing: apt-get install {package}")
    _run(["apt-get", "update", "-qq"])
    _run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", package], {"DEBIAN_FRONTEND": "noninteractive"})


def _unpack(debian_name: str, root: Path) -> None:
    """Unpack Debian's packages for a processor into a folder; apt checks their signatures."""
    work = root.with_name(f"{root.name}.apt")
    shutil.rmtree(work, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial", "root"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [arch={debian_name} signed-by={KEYRING}] {_mirror()} {SUITE} main\n")
    settings = {
        "Dir::State": work,
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": debian_name,
        "APT::Architectures": debian_name,
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    _run([*apt, "update"])
    _run([*apt, "install", "-y", "--no-install-recommends", "--download-only", *PACKAGES])
    for package in sorted((work / "cache/archives").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(package), str(work / "root")])
    for name in ("lib", "lib64"):
        # Packages hold /usr/lib only; the link /lib is normally made when a system is set up.
        if not (work / "root" / name).exists() and (work / "root/usr" / name).exists():
            (work / "root" / name).symlink_to(f"usr/{name}")
    shutil.rmtree(root, ignore_errors=True)
    (work / "root").rename(root)
    shutil.rmtree(work)


def _mirror() -> str:
    """The Debian mirror that this machine's own apt uses."""
    targets = _run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"]).splitlines()
    mirrors = [line.split("|")[2] for line in targets if line.startswith("Debian|Debian|")]
    if not mirrors or not KEYRING.exists():
        raise EmulationError(
            f"apt has no Debian mirror, or {KEYRING} is missing; run apt-get update on a Debian system"
        )
    return mirrors[0]


def _run(command: Sequence[str], more: Mapping[str, str] | None = None) -> str:
    """What a command prints; raises EmulationError with its last line if it fails."""
    done = subprocess.run(  # noqa: S603 - apt-get and dpkg-deb, with arguments of ours
        command, env={**os.environ, **(more or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        message = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise EmulationError(f"{command[0]} failed: {message[:LONGEST_MESSAGE]}")
    return done.stdout
