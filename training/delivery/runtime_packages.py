"""The Python packages of the Lambda artifact, as handler/requirements.txt pins them."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from training.errors import StageError

REQUIREMENTS = Path(__file__).parents[2] / "handler" / "requirements.txt"
_HASHES = re.compile(r"( --hash=sha256:[0-9a-f]{64})+")
_REMEDY = "`make lock` writes it, `git checkout` restores the committed one"


@dataclass(frozen=True)
class RuntimePackage:
    """A package that the artifact is built from."""

    name: str
    version: str
    sha256: tuple[str, ...]
    """The hash of each file that the package index has for this version; one of the files is installed."""


def read_runtime_packages(path: Path = REQUIREMENTS) -> tuple[RuntimePackage, ...]:
    """The packages that a requirements file pins by version and hash, without those for other systems or Pythons.

    Raises StageError if the file is missing or empty, or contains anything else; then it names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StageError(f"{path} cannot be read: {error.strerror}; {_REMEDY}") from error
    except UnicodeDecodeError as error:
        raise StageError(f"{path} is damaged: it is not valid UTF-8; {_REMEDY}") from error
    packages: dict[str, RuntimePackage] = {}
    # A backslash at the very end stays and is then refused, because the file was cut off there.
    for line in re.sub(r"\\\n(?=.)", " ", text).splitlines():
        if not (pinned := " ".join(line.split())) or pinned.startswith("#"):
            continue
        try:
            package = _parsed(pinned)
        except (InvalidRequirement, ValueError) as error:
            problem = "is not a package with a version and hashes"
            raise StageError(f"{path} is damaged: {pinned[:60]!r} {problem}; {_REMEDY}") from error
        if package and packages.setdefault(package.name, package) is not package:
            raise StageError(f"{path} is damaged: {package.name} is listed twice; {_REMEDY}")
    if not packages:
        raise StageError(f"{path} is damaged: it pins no package; {_REMEDY}")
    return tuple(packages.values())


def _parsed(pinned: str) -> RuntimePackage | None:
    """The package of a line; None if it is for another system. Raises ValueError if it is not pinned."""
    requirement, separator, hashes = pinned.partition(" --hash")
    parsed = Requirement(requirement)
    (version,) = (clause.version for clause in parsed.specifier if clause.operator in {"==", "==="})
    if not _HASHES.fullmatch(separator + hashes) or "*" in version:
        raise ValueError(pinned)
    if parsed.marker and not parsed.marker.evaluate():
        return None
    return RuntimePackage(canonicalize_name(parsed.name), version, tuple(sorted(re.findall("[0-9a-f]{64}", hashes))))
