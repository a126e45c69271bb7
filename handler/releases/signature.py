"""Ed25519 signatures of a bundle's manifest, verified without a library.

Lambda's runtime has no library for Ed25519, and the usual one would take 15 MB of the artifact's 45. Verifying
handles no secret, so plain integers suffice: about 6 ms for each bundle. Source: RFC 8032, section 5.1.
"""

import base64
import binascii
from hashlib import sha256, sha512

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
# The order of the base point.
_L = 2**252 + 27742317777372353535851937790883648493
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
# The prefix of a public key in X.509 format (RFC 8410), as OpenSSL and AWS KMS write it.
_X509 = bytes.fromhex("302a300506032b6570032100")

# Extended homogeneous coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, x * y = T/Z.
Point = tuple[int, int, int, int]


class SignatureError(ValueError):
    """Raised when a public key cannot be read."""


def signature_name(key: bytes) -> str:
    """The name of the file with a manifest's signature for a raw public key: one file per key, for key rotation."""
    return f"manifest.{sha256(key).hexdigest()[:8]}.sig"


def signed_statement(manifest: bytes) -> bytes:
    """The message that is signed for a manifest: short, because AWS KMS signs at most 4,096 bytes."""
    return b"fraud-scorer bundle, manifest sha256 " + sha256(manifest).hexdigest().encode()


def read_public_keys(text: str) -> tuple[bytes, ...]:
    """The raw keys, 32 bytes each, of a comma-separated list in base64, raw or X.509.

    Raises SignatureError if one is neither, or if a text that is not empty contains none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if text and not parts:
        raise SignatureError("it contains no public key; leave it empty to require no signature")
    return tuple(_read_public_key(part, place) for place, part in enumerate(parts, start=1))


def _read_public_key(text: str, place: int) -> bytes:
    try:
        content = base64.b64decode(text, validate=True).removeprefix(_X509)
    except (binascii.Error, ValueError):
        content = b""
    point = _point(content) if len(content) == _KEY_BYTES else None
    # A point of small order, such as 32 zeros, has no private key, and anybody can forge signatures for it.
    if point is None or _encoded(_times(8, point)) == _encoded((0, 1, 1, 0)):
        # Without the text itself, which may be a private key, pasted by mistake.
        raise SignatureError(
            f"key {place}, of {len(text)} characters, is not an Ed25519 public key in base64, raw (32 bytes) or X.509 "
            "(44 bytes)"
        )
    return content


def is_signed(manifest: bytes, signature: bytes, key: bytes) -> bool:
    """Whether a signature file's content, base64, is the signature of a manifest by a raw public key's owner."""
    return is_signature(signed_statement(manifest), signature, key)


def is_signature(statement: bytes, signature: bytes, key: bytes) -> bool:
    """Whether a text in base64 is the signature of a statement by a raw public key's owner."""
    try:
        raw = base64.b64decode(signature.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return _verifies(key, statement, raw)


def _verifies(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether s * B - h * A = R, the check of RFC 8032 without the cofactor, as in OpenSSL."""
    public = _point(key)
    if len(signature) != _SIGNATURE_BYTES or public is None:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= _L:
        return False
    h = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % _L
    x, y, z, t = public
    return _encoded(_add(_times(s, _BASE), _times(h, (-x % _P, y, z, -t % _P)))) == signature[:32]


def _point(encoded: bytes) -> Point | None:
    """The point that 32 bytes encode; None if they encode none."""
    number = int.from_bytes(encoded, "little")
    is_odd, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - square) % _P or (x == 0 and is_odd):
        return None
    if x & 1 != is_odd:
        x = _P - x
    return x, y, 1, x * y % _P


def _encoded(point: Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    x, y = x * inverse % _P, y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _add(left: Point, right: Point) -> Point:
    x1, y1, z1, t1 = left
    x2, y2, z2, t2 = right
    a, b = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * t1 * t2 * _D % _P, 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(factor: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    return total


_base = _point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
assert _base is not None  # noqa: S101 - for the type checker: the base point's y is 4/5
_BASE: Point = _base
