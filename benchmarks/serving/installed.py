"""What distributions installed here weigh with all they require, and folders that hold them and nothing else."""

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def required(names: Iterable[str]) -> dict[str, Distribution]:
    """These distributions and all that they require on this machine, without extras, by name."""
    distributions: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in distributions:
            continue
        distributions[name] = distribution(name)
        needs = map(Requirement, distributions[name].requires or ())
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return distributions


def megabytes(names: Iterable[str]) -> float:
    """The size on disk of distributions with all they require, their .pyc included."""
    files = {path for package in required(names).values() for path in _files(package)}
    return sum(path.stat().st_size for path in files) / 1e6


def link(folder: Path, names: Iterable[str]) -> Path:
    """The folder, into which distributions and all they require are linked, as if installed there alone."""
    folder.mkdir()
    for path in {path for package in required(names).values() for path in _tops(package)}:
        (folder / path.name).symlink_to(path)
    return folder


def _files(package: Distribution) -> Iterator[Path]:
    """Every file of a distribution below site-packages; its commands lie outside."""
    for file in package.files or ():
        if ".." in file.parts:
            continue
        path = Path(str(package.locate_file(file)))
        yield path
        # uv compiles after it has written the list of files.
        if path.suffix == ".py" and (compiled := Path(cache_from_source(str(path)))).is_file():
            yield compiled


def _tops(package: Distribution) -> set[Path]:
    """The folders and modules of a distribution that lie in site-packages itself."""
    names = {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}
    return {Path(str(package.locate_file(name))) for name in names}
