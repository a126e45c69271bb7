"""What distributions installed here weigh with all they require, and folders that hold them and nothing else."""

from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def required(names: Iterable[str]) -> list[Distribution]:
    """These distributions and all that they require on this machine, without extras."""
    distributions: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        if (name := canonicalize_name(waiting.pop())) not in distributions:
            distributions[name] = distribution(name)
            needs = map(Requirement, distributions[name].requires or ())
            waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return list(distributions.values())


def megabytes(names: Iterable[str]) -> float:
    """The size on disk of distributions with all they require, their .pyc included; their commands lie outside."""
    files = (file for package in required(names) for file in package.files or () if ".." not in file.parts)
    listed = {Path(str(file.locate())) for file in files}
    # uv compiles after it has written the list of files.
    compiled = {Path(cache_from_source(str(path))) for path in listed if path.suffix == ".py"}
    return sum(path.stat().st_size for path in listed | compiled if path.is_file()) / 1e6


def link(folder: Path, names: Iterable[str]) -> Path:
    """The folder, into which distributions and all they require are linked, as if installed there alone."""
    folder.mkdir()
    for package in required(names):
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(package.locate_file(top)))
    return folder
