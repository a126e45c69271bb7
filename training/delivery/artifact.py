"""A built Lambda artifact, examined without running it: size, shared libraries, compiled modules."""

import importlib.util
import io
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 45_000_000
MAX_GLIBC = (2, 34)  # Amazon Linux 2023's
# e_machine of the ELF header, which is little-endian for both. Source: System V ABI, "ELF Header".
MACHINES = {62: "x86_64", 183: "arm64"}


@dataclass(frozen=True)
class Artifact:
    """The files of an artifact, by their path in it."""

    files: Mapping[str, bytes]

    @property
    def n_bytes(self) -> int:
        """The size, unzipped."""
        return sum(map(len, self.files.values()))

    @property
    def n_zipped_bytes(self) -> int:
        """The size as SAM uploads it."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.files.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return len(out.getvalue())

    def libraries(self) -> dict[str, str]:
        """The processor of each shared library, as x86_64, arm64 or a number."""
        machines = {
            name: int.from_bytes(content[18:20], "little")
            for name, content in self.files.items()
            if content.startswith(b"\x7fELF")
        }
        return {name: MACHINES.get(machine, str(machine)) for name, machine in machines.items()}

    def glibc(self) -> dict[str, tuple[int, ...]]:
        """The highest GLIBC_ version that each shared library asks for; (0,) if it asks for none."""
        return {
            name: max(
                (
                    tuple(map(int, version.split(b".")))
                    for version in re.findall(rb"GLIBC_(\d+\.\d+)", self.files[name])
                ),
                default=(0,),
            )
            for name in self.libraries()
        }

    def stale_modules(self) -> list[str]:
        """The .py files that Lambda would compile at each cold start.

        A .pyc prevents that if it is for the runtime's Python, was compiled from exactly this source, and has an
        unchecked hash (PEP 552), with which it is valid whatever time the zip gives its source.
        """
        return sorted(
            name
            for name, source in self.files.items()
            if name.endswith(".py") and self.files.get(_compiled(name), b"")[:16] != _header(source)
        )


def read_artifact(folder: Path) -> Artifact:
    """The artifact in a folder."""
    return Artifact(
        {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    )


def faults(artifact: Artifact, architecture: str) -> list[str]:
    """What is wrong with an artifact for a processor, one sentence per fault."""
    libraries, glibc = artifact.libraries(), artifact.glibc()
    foreign = sorted(name for name, machine in libraries.items() if machine != architecture)
    demanding = sorted(name for name, version in glibc.items() if version > MAX_GLIBC)
    faults_found = []
    if artifact.n_bytes > MAX_BYTES:
        faults_found.append(
            f"it has {artifact.n_bytes / 1e6:.1f} MB unzipped; at most {MAX_BYTES / 1e6:.0f} MB are allowed"
        )
    if not libraries:
        faults_found.append("it contains no shared library; XGBoost's is missing")
    if foreign:
        named = ", ".join(f"{name} ({libraries[name]})" for name in foreign)
        faults_found.append(f"libraries not built for {architecture}: {named}")
    if demanding:
        limit = ".".join(map(str, MAX_GLIBC))
        faults_found.append(f"libraries that need a newer GLIBC than Lambda's {limit}: {', '.join(demanding)}")
    if stale := artifact.stale_modules():
        faults_found.append(f"modules that would be compiled at each cold start: {', '.join(stale)}")
    return faults_found


def _compiled(source: str) -> str:
    path = Path(source)
    return str(path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc")


def _header(source: bytes) -> bytes:
    """The first 16 bytes of the .pyc: Python's number, 0b01 for "by hash, unchecked", the source's hash."""
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
