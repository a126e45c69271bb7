"""What is wrong with a body that the parser refuses or misreads. Imported when one arrives, not at every cold start."""

import json
from collections.abc import Iterable

_UTF_16 = "the body is UTF-16 or UTF-32; send UTF-8"
_FORM = "the body is a form; send JSON"
_COMPRESSED = "the body is compressed; send it uncompressed, or as gzip with the header content-encoding: gzip"
# The first bytes of bodies that are not JSON in UTF-8: gzip; zip, zstd, zlib; byte order marks; markup; base64 of JSON.
_BEGINNINGS = (
    ((b"\x1f\x8b",), "the body is gzip without content-encoding; send the header content-encoding: gzip"),
    ((b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"x\x01", b"x\x9c", b"x\xda"), _COMPRESSED),
    ((b"\xef\xbb\xbf",), "the body begins with a byte order mark; send UTF-8 without one"),
    ((b"\xff\xfe", b"\xfe\xff"), _UTF_16),
    ((b"<",), "the body is XML or HTML; send JSON"),
    ((b"eyJ", b"ewo", b"ew0", b"W3s", b"Wwo", b"Ww0"), "the body is base64; send JSON"),
)
_FORMS = (b"application/x-www-form-urlencoded", b"multipart/form-data")
# Longer than any name of an encoding.
_MAX_CHARSET_LENGTH = 40


def body_problem(body: bytes | bytearray, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """What a body that is not valid JSON is instead, and what to send; None if only its syntax is wrong."""
    content_type = next((value.lower() for name, value in headers if name == b"content-type"), b"")
    return _not_json(body, content_type) or _not_utf8(body, content_type)


def _not_json(body: bytes | bytearray, content_type: bytes) -> str | None:
    content = body.strip()
    if not content:
        return "the body is empty; send JSON"
    for beginnings, problem in _BEGINNINGS:
        if content.startswith(beginnings):
            return problem
    # The content is checked first, because curl declares any body to be a form unless it gets another content type.
    if content[0] not in b'{["\x00' and (content_type.startswith(_FORMS) or b"=" in content.partition(b"&")[0]):
        return _FORM
    return None


def _not_utf8(body: bytes | bytearray, content_type: bytes) -> str | None:
    # JSON begins with ASCII and has no NUL.
    if len(body) > 1 and 0 in body[:4]:
        return _UTF_16
    try:
        body.decode()
    except UnicodeDecodeError as error:
        charset = content_type.partition(b"charset=")[2].partition(b";")[0].strip(b"\"' ").decode("ascii", "replace")
        if charset and charset not in {"utf-8", "utf8"}:
            return f"the body is {charset[:_MAX_CHARSET_LENGTH]}, as content-type says; send UTF-8"
        return f"the body is not UTF-8 (byte {error.start + 1}); send UTF-8"
    return None


def doubled_keys(body: bytes | bytearray) -> list[str | None]:
    """For each object in a JSON body, in order, a key that it has more than once, or None."""
    doubled: list[str | None] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        keys = [key for key, _ in pairs]
        doubled.append(max(keys, key=keys.count) if len(set(keys)) < len(keys) else None)

    json.loads(body, object_pairs_hook=note)
    return doubled
