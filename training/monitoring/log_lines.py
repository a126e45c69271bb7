"""Records read from lines of the function's log, also if other services have wrapped them; other lines by kind."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json

from handler.records.record import FORMAT

PREDICTIONS, OUTCOMES, EMPTY = "predictions", "outcomes", "empty lines"
TEXT, OTHER = "lines of text, such as START and REPORT", "other lines, such as metrics"
BROKEN, FOREIGN = "broken lines", "lines of scorer"
# The key that identifies a record, by the kind of the record.
KEYS = {PREDICTIONS: "record", OUTCOMES: "outcome"}
# Longer than an envelope of CloudWatch Logs, which holds thousands of records.
LONGEST_LINE_BYTES = 16_000_000
# How much of an unknown format or scorer is shown, because a broken line may hold anything there.
SHOWN_CHARACTERS = 20
# How deep envelopes may be nested: CloudWatch's holds messages, and each may be Docker's or syslog's around the line.
DEEPEST = 6

_HOLDS_RECORD = re.compile(rb'"(?:record|outcome)\\*"\s*:')
# Where reading resumes after a truncated object: at one that begins a line, is a record, or follows another object.
_RESTART = re.compile(rb'(?<=\n)\{|\{(?=\s*"(?:record|outcome|messageType)"\s*:)|(?<=\})(?:[\s,]|\\[nr])*\{')
# The length of the longest token that the end of a text may cut.
_LONGEST_TOKEN = 20
# What separates the objects of an array, or of a delivery with escaped line ends.
_BETWEEN = rb"(?:[\s,\[\]]|\\[nr])+"
_EDGES = re.compile(rb"\A" + _BETWEEN + rb"|" + _BETWEEN + rb"\Z")
_CAUSES = (
    (b'{""', "its quotes are doubled, as in CSV; export it as JSON"),
    (b'{\\"', "its quotes are escaped"),
    (b"{'", "in Python's notation; write JSON"),
)
_IN_A_DOCUMENT = re.compile(rb'\s*(?:"[^"]*"\s*:.*|[{}],?)\s*')
# How a text begins that is gzip in base64, which is how CloudWatch Logs sends it to Kinesis and Lambda.
PACKED = b'"H4sI'
_decode = json.JSONDecoder().raw_decode


def read_records(lines: Iterable[bytes], scorer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kind and the record of each record in the lines; a line without any gives its own kind and no content."""
    for line in lines:
        yield from _read(line, scorer)


def broken(cause: str) -> str:
    """The kind of a line that cannot be used."""
    return f"{BROKEN} ({cause})"


def is_unusable(kind: str) -> bool:
    """Whether lines of a kind were meant to be records and cannot be used."""
    return kind.startswith((BROKEN, "lines of format", "lines dated"))


def merged_kinds(counts: Counter[str], most: int = 40) -> Counter[str]:
    """The counts, with the rarest kinds merged if there are too many, because a foreign log may hold anything."""
    if len(counts) <= most:
        return counts
    kept = Counter(dict(counts.most_common(most)))
    kept["lines of further kinds"] += counts.total() - kept.total()
    return kept


def _read(line: bytes, scorer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if len(line) > LONGEST_LINE_BYTES:
        yield broken("too long"), {}
        return
    try:
        value = from_json(line)
    except ValueError:
        yield from _read_text(line, scorer)
        return
    # The common cases first: most lines are records, or hold none.
    if isinstance(value, dict) and _is_record(value):
        yield _kind(value, scorer), value
    elif _HOLDS_RECORD.search(line):
        yield from _read_envelope(value, scorer)
    elif isinstance(value, dict):
        yield (broken("packed within an envelope; unpack it first") if PACKED in line else OTHER), {}
    else:
        yield (broken("no record") if isinstance(value, list) else TEXT), {}


def _is_record(value: dict[str, Any]) -> bool:
    for key in KEYS.values():
        if key in value:
            # Lambda's own events have a key `record` too, with an object or a line of text.
            mark = value[key]
            return mark == FORMAT or not (isinstance(mark, dict | list) or (isinstance(mark, str) and "{" in mark))
    return False


def _kind(record: dict[str, Any], scorer: str) -> str:
    kind, key = next((kind, key) for kind, key in KEYS.items() if key in record)
    if record[key] != FORMAT:
        return f"lines of format {record[key]!r:.{SHOWN_CHARACTERS}}"
    named = record.get("scorer")
    return kind if named == scorer else f"{FOREIGN} {named!r:.{SHOWN_CHARACTERS}}"


def _read_envelope(value: Any, scorer: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401 - any JSON
    """The records within a JSON value that is not a record itself; OTHER once if there are none."""
    records = list(_records_in(value))
    yield from ((_kind(record, scorer), record) if record else (broken("cut short"), {}) for record in records)
    if not records:
        yield OTHER, {}


def _records_in(value: Any, depth: int = 0) -> Iterator[dict[str, Any] | None]:  # noqa: ANN401 - any JSON
    """The records in a JSON value, at any depth and within texts; None for a text that holds a broken one."""
    if depth > DEEPEST:
        return
    if isinstance(value, dict) and _is_record(value):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _records_in(inner, depth + 1)
    elif isinstance(value, str) and _HOLDS_RECORD.search(text := value.encode(errors="replace")):
        objects, is_whole = _objects_in(text)
        for inner in objects:
            yield from _records_in(inner, depth + 1)
        if not is_whole:
            yield None


def _read_text(line: bytes, scorer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records in a line that is not JSON: several objects, one after a prefix, or part of a larger document."""
    objects, is_whole = _objects_in(line)
    if not objects and (member := _member(line)):
        objects, is_whole = [member], True
    records = list(_records_in(objects))
    yield from ((_kind(record, scorer), record) if record else (broken("cut short"), {}) for record in records)
    if not is_whole:
        yield broken(_cause(line)), {}
    elif not records:
        yield _kind_without_record(line, has_objects=bool(objects)), {}


def _kind_without_record(line: bytes, *, has_objects: bool) -> str:
    if has_objects:
        return OTHER
    if _trimmed(line):
        return TEXT
    return EMPTY


def _objects_in(text: bytes) -> tuple[list[Any], bool]:
    """The JSON objects in a text, and whether the rest is only prefixes and remarks, not part of a broken object."""
    parts, rest = split_objects(text, is_last=True)
    objects, is_whole = [], is_remark(_trimmed(rest))
    for part in parts:
        prefix, brace, _ = part.partition(b"{")
        is_whole &= is_remark(prefix)
        if brace:
            try:
                objects.append(from_json(part[len(prefix) :]))
            except ValueError:
                is_whole = False
    return objects, is_whole


def is_remark(text: bytes) -> bool:
    """Whether a text outside of all objects shows no sign of being part of one."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return not any(mark in text for mark in (b"{", b"}", b'":', b"\0"))


def _member(line: bytes) -> dict[str, Any] | None:
    """The member on a line of a pretty-printed document, as an object of its own; None unless it holds a record."""
    if not _HOLDS_RECORD.search(line):
        return None
    try:
        member = from_json(b"{" + _trimmed(line) + b"}")
    except ValueError:
        return None
    return None if _is_record(member) else member


def _cause(line: bytes) -> str:
    if _IN_A_DOCUMENT.fullmatch(line):
        return "part of a longer object; write each on one line, as jq -c does"
    return next((cause for mark, cause in _CAUSES if mark in line), "no JSON, or cut short")


def _trimmed(text: bytes) -> bytes:
    return _EDGES.sub(b"", text)


def split_objects(text: bytes, *, is_last: bool = False) -> tuple[list[bytes], bytes]:
    """Each top-level object of a text with its prefix on the same line, the lines between objects, and the rest.

    The rest follows the last whole object and, unless the text is the last of its file (`is_last`), may hold the
    beginning of another. No part has a line end.
    """
    # Latin-1 has one character per byte, so positions in both are the same.
    characters = text.decode("latin-1")
    parts: list[bytes] = []
    at = 0
    while (start := text.find(b"{", at)) >= 0:
        try:
            end = _decode(characters, start)[1]
        except RecursionError:
            break
        except json.JSONDecodeError as error:
            restart = None if _is_cut(error) and not is_last else _RESTART.search(text, start + 1)
            if restart is None:
                break
            end = restart.end() - 1
        *lines, prefix = map(_trimmed, text[at:start].split(b"\n"))
        if parts and lines and is_remark(lines[0]):
            # A remark after an object on the same line is dropped.
            lines[0] = b""
        parts += [line for line in lines if line]
        # Line ends become spaces; JSON has none within a string.
        parts.append(prefix + text[start:end].translate(_SPACES))
        at = end
    return parts, text[at:]


def _is_cut(error: json.JSONDecodeError) -> bool:
    """Whether the text ends before the object does."""
    return error.pos > len(error.doc) - _LONGEST_TOKEN or error.msg.startswith("Unterminated string")


_SPACES = bytes.maketrans(b"\r\n", b"  ")
