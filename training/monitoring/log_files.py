"""The files of a prediction log, in chunks of whole lines, however they were delivered."""

import gzip
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import fsspec
from pydantic_core import from_json

from training.errors import DataError
from training.monitoring.log_lines import LONGEST_LINE_BYTES, is_remark, split_objects

# A parsed chunk takes about ten times as much memory, in each process.
CHUNK_BYTES = 4_000_000
# How much of a file is read to find out whether its lines are objects.
HEAD_BYTES = 1_000_000
GZIP = b"\x1f\x8b"
# The beginning of a gzip file; no text contains these bytes.
GZIP_WITHIN = b"\x1f\x8b\x08"
# Layers of compression: Firehose compresses again what CloudWatch Logs has compressed.
MOST_PACKINGS = 3
# Files that hold no lines of JSON, by their first bytes.
OTHER_FILES = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"BZh": "a bzip2 file; unpack it",
    b"\xfd7zXZ": "an xz file; unpack it",
    b"\x28\xb5\x2f\xfd": "a zstd file; unpack it",
    b"\xff\x06\x00\x00sN": "a Snappy file; unpack it, or have the records written as gzip",
    b"PAR1": "a Parquet file; write its records as lines of JSON",
    b"\xff\xfe": "encoded as UTF-16; convert it with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "encoded as UTF-16; convert it with iconv -f UTF-16 -t UTF-8",
    b"{\0": "encoded as UTF-16; convert it with iconv -f UTF-16LE -t UTF-8",
    b"\0{": "encoded as UTF-16; convert it with iconv -f UTF-16BE -t UTF-8",
}


def read_lines(address: str) -> Iterator[bytes]:
    """The lines of a file, a folder or a prefix of S3, one by one; raises DataError if there is no file."""
    for chunk in read_chunks(address):
        yield from chunk.split(b"\n")


def read_chunks(address: str) -> Iterator[bytes]:
    """The lines of a file, a folder or a prefix of S3 in chunks of whole lines; no file is in memory as a whole.

    If a file does not hold one object per line, it is split into one line per object. Raises DataError if there is no
    file, or if one is damaged or of another kind, because its missing lines would look like requests that never came.
    """
    for filesystem, path in _files(address):
        try:
            with filesystem.open(path, "rb") as raw:
                for chunk in _whole_lines(_unpacked(raw, path)):
                    if GZIP_WITHIN in chunk:
                        raise DataError(
                            f"{path} contains gzip data among its lines; decompress the files before joining them"
                        )
                    yield chunk
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is a truncated or corrupt gzip file: {error}; repair or remove it") from error


def _files(address: str) -> list[tuple[Any, str]]:
    """The files at an address, with the file system that opens them."""
    if not address:
        raise DataError("LOG= must name a file or folder of prediction records, or s3://bucket/prefix")
    filesystem, path = fsspec.core.url_to_fs(address)
    if not filesystem.exists(path):
        raise DataError(f"{address} does not exist; PREDICTIONS= makes the function record its predictions")
    paths = [path]
    if not filesystem.isfile(path):
        paths = sorted(within for within in filesystem.find(path) if not _is_bookkeeping(within))
    if not paths:
        raise DataError(f"{address} holds no file; PREDICTIONS= makes the function record its predictions")
    return [(filesystem, path) for path in paths]


def _is_bookkeeping(path: str) -> bool:
    """Whether a name begins with a dot or underscore (as Spark's _SUCCESS), or is empty (S3's mark of a folder)."""
    name = path.rpartition("/")[2]
    return not name or name.startswith((".", "_"))


def _unpacked(file: Any, path: str) -> Any:  # noqa: ANN401 - a file of any kind
    """The file, decompressed if its first bytes are those of gzip; its name is not trusted."""
    for _ in range(MOST_PACKINGS):
        head = _head(file)
        if not head.startswith(GZIP):
            break
        file = gzip.GzipFile(fileobj=file)
    head = _head(file)
    for mark, kind in OTHER_FILES.items():
        if head.startswith(mark):
            raise DataError(f"{path} is {kind}")
    return file


def _head(file: Any) -> bytes:  # noqa: ANN401 - a file of any kind
    head: bytes = file.read(max(map(len, OTHER_FILES)))
    file.seek(0)
    return head


def _whole_lines(file: Any) -> Iterator[bytes]:  # noqa: ANN401 - a file of any kind
    head = file.read(HEAD_BYTES)
    pieces = chain([head], iter(lambda: file.read(CHUNK_BYTES), b""))
    return _by_line(pieces) if _has_lines(head) else _by_object(pieces)


def _has_lines(head: bytes) -> bool:
    """Whether a line of the file's beginning is an object, perhaps after a prefix, or no line contains one."""
    lines = [line.partition(b"{") for line in head.split(b"\n") if b"{" in line]
    return not lines or any(
        is_remark(prefix) and _is_json(brace + rest.rstrip(b",] \t\r")) for prefix, brace, rest in lines
    )


def _is_json(line: bytes) -> bool:
    try:
        from_json(line)
    except ValueError:
        return False
    return True


def _by_line(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        whole, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            yield whole
        if len(rest) > LONGEST_LINE_BYTES:
            # The line counts as one broken line, whatever follows, because JSON cannot contain this byte.
            rest = b"\0"
    if rest:
        yield rest


def _by_object(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """One line per object, for files without line ends, arrays and pretty-printed objects."""
    rest = b""
    for piece in pieces:
        parts, rest = split_objects(rest + piece)
        if parts:
            yield b"\n".join(parts)
        while len(rest) > LONGEST_LINE_BYTES:
            # Too long for a record: skip its brace and read the objects within it.
            opening, _, inner = rest.partition(b"{")
            parts, rest = split_objects(inner)
            yield b"\n".join([opening, *parts])
    parts, rest = split_objects(rest, is_last=True)
    if parts or rest.strip():
        yield b"\n".join([*parts, rest])
