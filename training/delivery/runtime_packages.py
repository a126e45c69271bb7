"""The Python packages of the Lambda artifact, as handler/requirements.txt pins them."""

import re
from dataclasses import dataclass
from pathlib import Path

from training.errors import StageError

REQUIREMENTS = Path(__file__).parents[2] / "handler" / "requirements.txt"
_PINNED = re.compile(
    r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)==(?P<version>[^\s;\\]+)(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)
_REMEDY = "`make lock` writes it, `git checkout` brings the committed one back"


@dataclass(frozen=True)
class RuntimePackage:
    """A package that the artifact is built from."""

    name: str
    version: str
    sha256: tuple[str, ...]
    """Of each file that the index has of this version, one of which is installed."""


def read_runtime_packages(path: Path = REQUIREMENTS) -> tuple[RuntimePackage, ...]:
    """The packages that a requirements file pins by version and hash.

    Raises StageError, which names the line, where the file is missing, empty, or has anything else in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StageError(f"{path} cannot be read: {error.strerror}; {_REMEDY}") from error
    except UnicodeDecodeError as error:
        raise StageError(f"{path} is damaged: it is not a text in UTF-8; {_REMEDY}") from error
    packages: dict[str, RuntimePackage] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if not (requirement := " ".join(line.split())) or requirement.startswith("#"):
            continue
        if not (pinned := _PINNED.fullmatch(requirement)) or pinned["name"] in packages:
            problem = "is there twice" if pinned else "is no package with a version and hashes"
            raise StageError(f"{path} is damaged: {requirement[:60]!r} {problem}; {_REMEDY}")
        hashes = tuple(sorted(part.removeprefix("--hash=sha256:") for part in pinned["hashes"].split()))
        packages[pinned["name"]] = RuntimePackage(pinned["name"], pinned["version"], hashes)
    if not packages:
        raise StageError(f"{path} is damaged: it pins no package; {_REMEDY}")
    return tuple(packages.values())
