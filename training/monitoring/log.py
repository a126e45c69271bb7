"""A scorer's prediction log, read from the function's files into columns, in parallel."""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Self

import fsspec
import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed

from training.errors import DataError
from training.monitoring.binning import Binning
from training.monitoring.log_lines import LONGEST_LINE_BYTES, read_columns
from training.params import SECONDS_A_DAY
from training.run.matrix import Floats, Labels, Positions

# Parsed, a chunk takes about ten times as much memory, in each process.
CHUNK_BYTES = 4_000_000
# By how much the function's clock may be ahead of this machine's.
CLOCK_SLACK = SECONDS_A_DAY


@dataclass(frozen=True)
class Log:
    """A scorer's predictions and outcomes in columns, each sorted by time."""

    time: Floats
    probability: Floats
    flagged: npt.NDArray[np.bool_]
    n_warnings: npt.NDArray[np.uint8]
    milliseconds: Floats
    weight: Floats
    """How many predictions each row stands for, where only a share was recorded."""
    id: npt.NDArray[np.uint64]
    """A hash of the id; NO_ID where there was none."""
    version: Positions
    """The index into `versions`."""
    bins: npt.NDArray[np.uint16]
    """(n_predictions, n_features), in the baseline's order."""
    versions: list[str]
    outcome_time: Floats
    outcome_id: npt.NDArray[np.uint64]
    outcome_label: Labels
    counts: dict[str, int]
    """How many lines of each kind were read, unusable ones too."""

    def during(self, since: float, until: float) -> Self:
        """The predictions from `since` to before `until`; all outcomes stay, because they may come later."""
        kept = slice(*np.searchsorted(self.time, [since, until]))
        columns = ("time", "probability", "flagged", "n_warnings", "milliseconds", "weight", "id", "version", "bins")
        return type(self)(**{**self.__dict__, **{name: getattr(self, name)[kept] for name in columns}})


def read_log(address: str, scorer: str, binning: Binning) -> Log:
    """The records of a scorer in a file, a folder or a prefix of S3 (s3://bucket/prefix), .gz or not.

    Raises DataError where there is no file.
    """
    latest = time() + CLOCK_SLACK
    read = Parallel(n_jobs=-1, return_as="generator")(
        delayed(_read)(chunk, scorer, binning, latest) for chunk in _chunks(_files(address))
    )
    # Reading no lines gives empty columns of the right types.
    parts, counts, versions = [read_columns((), scorer, binning, latest=latest)[0]], Counter[str](), list[str]()
    for columns, named, counted in read:
        versions += [version for version in named if version not in versions]
        places = np.array([versions.index(version) for version in named], dtype=np.intp)
        parts.append(columns | {"version": places[columns["version"]]})
        counts.update(counted)
    columns = _joined(parts)
    ordered = sorted(versions)
    places = np.array([ordered.index(version) for version in versions], dtype=np.intp)
    return Log(**columns | {"version": places[columns["version"]]}, versions=ordered, counts=dict(counts))


def _read(chunk: bytes, scorer: str, binning: Binning, latest: float) -> tuple[dict[str, Any], list[str], Counter[str]]:
    return read_columns(chunk.split(b"\n"), scorer, binning, latest=latest)


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The columns of all parts by time, taken out of the parts one by one, so that only one is in memory twice."""
    orders = {"": np.argsort(np.concatenate([part["time"] for part in parts]), kind="stable")}
    orders["outcome_"] = np.argsort(np.concatenate([part["outcome_time"] for part in parts]), kind="stable")
    return {
        name: np.concatenate([part.pop(name) for part in parts])[orders["outcome_" * name.startswith("outcome_")]]
        for name in list(parts[0])
    }


def read_lines(address: str) -> Iterator[bytes]:
    """The lines of a file, a folder or a prefix of S3, one by one; raises DataError where there is no file."""
    for chunk in _chunks(_files(address)):
        yield from chunk.split(b"\n")


def _files(address: str) -> list[Any]:
    """The files at an address, with the file system that opens them."""
    if not address:
        raise DataError("LOG= must name a file or folder of prediction records, or s3://bucket/prefix")
    filesystem, path = fsspec.core.url_to_fs(address)
    if not filesystem.exists(path):
        raise DataError(f"{address} does not exist; PREDICTIONS= makes the function record its predictions")
    paths = [path] if filesystem.isfile(path) else sorted(filesystem.find(path))
    if not paths:
        raise DataError(f"{address} holds no file; PREDICTIONS= makes the function record its predictions")
    return [(filesystem, path) for path in paths]


def _chunks(files: Sequence[tuple[Any, str]]) -> Iterator[bytes]:
    """The files' content in chunks of whole lines, so that no file is in memory whole.

    Raises DataError where a file is damaged, because its missing lines would look like requests that never came.
    """
    for filesystem, path in files:
        try:
            with filesystem.open(path, "rb") as raw, _unpacked(raw, path) as file:
                rest = b""
                while piece := file.read(CHUNK_BYTES):
                    whole, newline, rest = (rest + piece).rpartition(b"\n")
                    if newline:
                        yield whole
                    if len(rest) > LONGEST_LINE_BYTES:
                        # Counted as one broken line whatever follows, because JSON cannot hold this byte.
                        rest = b"\0"
                if rest:
                    yield rest
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is a truncated or corrupt gzip file: {error}; repair or remove it") from error


def _unpacked(raw: Any, path: str) -> Any:  # noqa: ANN401 - a file of any kind
    return gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
