"""Reads files as lines of UTF-8, whatever their compression and encoding; errors say what other files are."""

import codecs
import gzip
import hashlib
import io
import re
import shlex
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

from training.data.encodings import iconv_name, other_encoding
from training.errors import DataError
from training.run.files import sha256_of

BUFFER_BYTES = 1 << 20
HEAD_BYTES = 4096
PARQUET = b"PAR1"
_AS_CSV = "save the sheet as CSV (in Excel: Save As, CSV UTF-8)"
_UNPACK = "unpack it, and name the file inside"
_CR_TO_LF = "tr '\\r' '\\n'"
# How files of other kinds begin, what they are, and what to do with them. A CSV's header may begin similarly, as ORCID,
# <DATE> and [Amount] do, and must not match.
FOREIGN = (
    (rb"\xd0\xcf\x11\xe0", "an Excel 97 workbook (.xls)", _AS_CSV),
    (rb"BZh\d", "a bzip2 file", _UNPACK),
    (rb"\xfd7zXZ", "an xz file", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (rb"Rar!", "a RAR archive", _UNPACK),
    (rb"ARROW1\0", "an Arrow (Feather) file", "write it as Parquet"),
    (rb"ORC.*\0", "an ORC file", "write it as Parquet"),
    (rb"Obj\x01", "an Avro file", "write it as Parquet"),
    (rb"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (rb"\x89HDF", "an HDF5 file", "write it as Parquet"),
    (rb"%PDF-", "a PDF", "export the table as CSV"),
    (rb"<(?:[!?]|[A-Za-z][\w:]*(?:\s|>[ \r\n]*[<\w]))", "an HTML or XML page", "export the table as CSV"),
    (rb"\{\s*[\"}]", "JSON", "export the rows as CSV or Parquet"),
    (rb"\[\s*[\[{\"\d-]", "JSON", "export the rows as CSV or Parquet"),
    (rb"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself with `git lfs pull`"),
)
# Byte order marks; those of UTF-32 come first, because that of UTF-32-LE begins with that of UTF-16-LE.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The bytes that Windows-1252 leaves undefined, and ÿ, which hardly any text contains.
_NO_CP1252 = b"\x81\x8d\x8f\x90\x9d\xff"


class Packing(NamedTuple):
    """How a file is compressed: `gzip`, `zip` or "", and the path of the file in a zip archive."""

    kind: str = ""
    member: str = ""


class Survey(NamedTuple):
    """What one pass over a file finds."""

    sha256: str
    n_lines: int
    """Including a last line without a line break; for UTF-16, an upper bound."""
    encoding: str


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, not text, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


def text_packing(path: Path) -> Packing:
    """How a text file is compressed, by its first bytes; raises DataError if it holds no text."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    packing = Packing()
    if head.startswith(b"\x1f\x8b"):
        packing = Packing("gzip")
    elif head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        packing = Packing("zip", _member(path))
    if packing.kind:
        with unpacked_text(path, packing) as file:
            head = file.read(HEAD_BYTES)
    _require_text(path, head, packing)
    return packing


def _member(path: Path) -> str:
    """The one file in a zip archive; raises DataError if it is a workbook, or holds several."""
    with zipfile.ZipFile(path) as archive:
        files = [file for file in archive.infolist() if not file.is_dir() and not _is_bookkeeping(file.filename)]
    names = [file.filename for file in files]
    if any(name.startswith("xl/") for name in names):
        raise DataError(f"{path} is an Excel workbook (.xlsx); {_AS_CSV}")
    if "content.xml" in names:
        raise DataError(f"{path} is an OpenDocument file (.ods); save the sheet as CSV")
    if len(files) != 1:
        listed = f": {', '.join(names[:3])}{', ...' * (len(names) > 3)}" if names else ""  # noqa: PLR2004 - examples
        raise DataError(
            f"{path} is a zip archive of {len(names):,} files{listed}; unpack it, and name a file or folder"
        )
    if files[0].flag_bits & 1:
        raise DataError(f"{path} is a zip archive with a password; unpack it, and name the file inside")
    return names[0]


def _is_bookkeeping(member: str) -> bool:
    """Whether a file in a zip archive is one that macOS adds."""
    return member.startswith("__MACOSX/") or Path(member).name.startswith(".")


def _require_text(path: Path, head: bytes, packing: Packing) -> None:
    """Raise DataError, saying what a file is, if it is not text that can be read."""
    subject = f"{path} holds" if packing.kind else f"{path} is"
    if head[257:262] == b"ustar" or (packing.kind and head.startswith((PARQUET, b"PK\x03\x04", b"\x1f\x8b"))):
        kind = (
            f"a {packing.kind} file that holds another archive or a Parquet file" if packing.kind else "a tar archive"
        )
        raise DataError(f"{path} is {kind}; {_UNPACK}")
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    for magic, kind, remedy in FOREIGN:
        if re.match(magic, start, re.DOTALL):
            raise DataError(f"{subject} {kind}, not a table of text; {remedy}")
    if _encoding_by_head(head) == "utf-32":
        raise DataError(f"{subject} UTF-32; {_conversion(path, packing, 'iconv -f UTF-32 -t UTF-8')}")
    if b"\0" in head and not _encoding_by_head(head).startswith("utf-16"):
        raise DataError(f"{subject} not text: it has NUL bytes; provide a .csv or .parquet file")
    if head.count(b"\r") > 1 and b"\n" not in head and b"\0" not in head:
        raise DataError(f"{subject} text whose lines end in CR alone; {_conversion(path, packing, _CR_TO_LF)}")


def _encoding_by_head(head: bytes) -> str:
    """The encoding by the byte order mark or, for UTF-16 without one, by its zero bytes; "" if they do not tell."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding
    even, odd = head[::2].count(0), head[1::2].count(0)
    # In UTF-16, delimiters, digits and line breaks have a zero byte, always on the same side.
    least = len(head) // 8
    if max(even, odd) > least and min(even, odd) <= max(even, odd) // 8:
        return "utf-16-le" if odd > even else "utf-16-be"
    return ""


@contextmanager
def unpacked_text(path: Path, packing: Packing) -> Iterator[IO[bytes]]:
    """The bytes of a text file, decompressed."""
    if packing.kind == "gzip":
        with gzip.open(path) as file:
            yield cast("IO[bytes]", file)
    elif packing.kind == "zip":
        with zipfile.ZipFile(path) as archive, archive.open(packing.member) as member:
            yield io.BufferedReader(cast("io.RawIOBase", member), BUFFER_BYTES)
    else:
        with path.open("rb") as file:
            yield file


@contextmanager
def open_lines(path: Path, packing: Packing, encoding: str) -> Iterator[Iterator[bytes]]:
    """The lines of a file in UTF-8, without a byte order mark.

    What cannot be decoded becomes bytes that are not UTF-8, so that its line is reported as broken.
    """
    with unpacked_text(path, packing) as file:
        if encoding == "utf-8":
            yield _without_mark(file)
            return
        codecs.register_error("broken", lambda error: ("\udcff", cast("UnicodeDecodeError", error).end))
        # Only "\n" ends a line, as for a file in UTF-8.
        with io.TextIOWrapper(file, encoding, "broken", newline="\n") as text:
            yield (line.encode("utf-8", "surrogatepass") for line in text)


def _without_mark(file: IO[bytes]) -> Iterator[bytes]:
    first = file.readline().removeprefix(codecs.BOM_UTF8)
    if first:
        yield first
        yield from file


def survey(path: Path, packing: Packing) -> Survey:
    """The checksum, the number of lines and the encoding of a whole file.

    Without a byte order mark, the file is UTF-8 if most of its lines beyond ASCII are; the others are then broken
    lines. Otherwise it is Windows-1252, or UTF-8 if most of the others have bytes that Windows-1252 text lacks. Raises
    DataError if it seems to be in yet another encoding.
    """
    digest, n_lines, last, rest, head = hashlib.sha256(), 0, b"\n", b"", b""
    lines = _LineEncodings()
    with unpacked_text(path, packing) as file:
        while block := file.read(BUFFER_BYTES):
            head = head or block[:HEAD_BYTES]
            if not packing.kind:
                digest.update(block)
            n_lines += block.count(b"\n")
            last = block[-1:]
            whole, rest = _whole_lines(rest, block)
            lines.add(whole)
    lines.add(rest)
    encoding = _encoding_by_head(head) or lines.encoding(path, packing)
    return Survey(sha256_of(path) if packing.kind else digest.hexdigest(), n_lines + (last != b"\n"), encoding)


def _whole_lines(rest: bytes, block: bytes) -> tuple[bytes, bytes]:
    """The whole lines so far, and the rest for the next block, because it may end with an incomplete character."""
    if not rest and block.isascii():
        return b"", b""
    content = rest + block
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


class _LineEncodings:
    """Counts the lines beyond ASCII that are UTF-8, and those that are not."""

    def __init__(self) -> None:
        self._n_utf8, self._n_other, self._n_implausible = 0, 0, 0
        self._sample = b""

    def add(self, content: bytes) -> None:
        """Count lines."""
        if content.isascii():
            return
        for line in content.split(b"\n"):
            if line.isascii():
                continue
            try:
                line.decode()
                self._n_utf8 += 1
            except UnicodeDecodeError:
                self._n_other += 1
                self._n_implausible += any(byte in line for byte in _NO_CP1252)
                if len(self._sample) < BUFFER_BYTES:
                    self._sample += line + b"\n"

    def encoding(self, path: Path, packing: Packing) -> str:
        """The encoding of most lines; raises DataError if it is neither UTF-8 nor Windows-1252."""
        if self._n_other == 0 or self._n_utf8 > self._n_other:
            return "utf-8"
        if other := other_encoding(self._sample):
            conversion = _conversion(path, packing, f"iconv -f {iconv_name(other)} -t UTF-8")
            raise DataError(f"{path} is not UTF-8 but seems to be {iconv_name(other)}; {conversion}")
        return "utf-8" if self._n_implausible * 2 > self._n_other else "cp1252"


def _conversion(path: Path, packing: Packing, command: str) -> str:
    """A remedy with the shell command that converts a file into a new one."""
    source, target = (shlex.quote(str(name)) for name in (path, path.with_suffix(".utf8.csv")))
    unpacking = {"gzip": f"gzip -dc {source} | ", "zip": f"unzip -p {source} | "}.get(packing.kind, "")
    return f"convert it with: {unpacking}{command}{'' if unpacking else f' < {source}'} > {target}"
