"""Ed25519 in plain integers agrees with the standard's vectors and with a library."""

import base64
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from handler.releases.signature import (
    SignatureError,
    _verifies,
    is_signed,
    read_public_keys,
    signature_name,
    signed_statement,
)

# The order of the base point (RFC 8032, section 5.1).
L = 2**252 + 27742317777372353535851937790883648493
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
MANIFEST = b'{"format": 2}\n'

seeds = st.binary(min_size=32, max_size=32)
messages = st.binary(max_size=200)


def raw(key: Ed25519PrivateKey) -> bytes:
    """A key's public half, 32 bytes."""
    return key.public_key().public_bytes_raw()


def encoded(content: bytes) -> str:
    """Base64."""
    return base64.b64encode(content).decode()


def as_x509(key: Ed25519PrivateKey) -> str:
    """A key's public half in the format of OpenSSL and AWS KMS, in base64."""
    return encoded(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def as_file(key: Ed25519PrivateKey, manifest: bytes) -> bytes:
    """A key's signature of a manifest, as its file holds it."""
    return base64.b64encode(key.sign(signed_statement(manifest))) + b"\n"


def verifies_by_library(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether OpenSSL accepts a signature."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def with_bit_flipped(content: bytes, bit: int) -> bytes:
    """The content with one bit changed."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
            "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da0"
            "85ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac1"
            "8ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_standards_own_signatures_verify(key: str, message: str, signature: str) -> None:
    """RFC 8032, section 7.1, tests 1 to 3; a message with one more byte does not verify."""
    key_bytes, message_bytes, signature_bytes = map(bytes.fromhex, (key, message, signature))
    assert _verifies(key_bytes, message_bytes, signature_bytes)
    assert not _verifies(key_bytes, message_bytes + b"\0", signature_bytes)


@given(seed=seeds, message=messages, other=seeds)
def test_a_signature_of_the_library_verifies_by_its_own_key_alone(seed: bytes, message: bytes, other: bytes) -> None:
    """For every key and message."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    signature = key.sign(message)
    assert _verifies(raw(key), message, signature)
    assert _verifies(raw(Ed25519PrivateKey.from_private_bytes(other)), message, signature) is (seed == other)


@given(seed=seeds, message=st.binary(min_size=1, max_size=200), place=st.integers(0, 2), draw=st.integers(0))
def test_a_flipped_bit_is_noticed_as_by_the_library(seed: bytes, message: bytes, place: int, draw: int) -> None:
    """In the key, the message or the signature."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    parts = [raw(key), message, key.sign(message)]
    parts[place] = with_bit_flipped(parts[place], draw % (8 * len(parts[place])))
    assert _verifies(*parts) is verifies_by_library(*parts) is False


@given(key=st.binary(min_size=32, max_size=32), message=messages, signature=st.binary(min_size=64, max_size=64))
def test_random_bytes_verify_as_by_the_library(key: bytes, message: bytes, signature: bytes) -> None:
    """Nothing is raised, whether the key is a point or not."""
    assert _verifies(key, message, signature) is verifies_by_library(key, message, signature)


@given(key=st.binary(max_size=70), signature=st.binary(max_size=130))
def test_bytes_of_another_length_never_verify(key: bytes, signature: bytes) -> None:
    """Nothing is raised."""
    assert _verifies(key, b"", signature) is False


@given(message=messages)
def test_a_signature_has_one_valid_form(message: bytes) -> None:
    """The equation also holds with s + L in place of s, but this form is refused, as by the library."""
    signature = KEY.sign(message)
    s = int.from_bytes(signature[32:], "little")
    other = signature[:32] + (s + L).to_bytes(32, "little")
    assert _verifies(raw(KEY), message, other) is verifies_by_library(raw(KEY), message, other) is False


@pytest.mark.parametrize(
    "y",
    [2**255 - 19, 2**255 - 18, 2**255 - 1, 1 | 1 << 255, 0, 1, 2**255 - 20],
    ids=["p", "p + 1", "2**255 - 1", "1 with the sign of zero", "0", "1", "-1"],
)
def test_an_unsafe_key_is_refused(y: int) -> None:
    """A point has one valid form (RFC 8032, section 5.1.3); with 0, 1 and -1, of small order, anybody can sign."""
    with pytest.raises(SignatureError):
        read_public_keys(encoded(y.to_bytes(32, "little")))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", []),
        (encoded(raw(KEY)), [KEY]),
        (as_x509(KEY), [KEY]),
        (f" {encoded(raw(KEY))}, {as_x509(OTHER_KEY)} ,", [KEY, OTHER_KEY]),
    ],
    ids=["none", "raw", "X.509", "two"],
)
def test_public_keys_are_read_in_order(text: str, keys: list[Ed25519PrivateKey]) -> None:
    """Raw or in X.509. During a rotation two are trusted; without a key, unsigned versions are served."""
    assert read_public_keys(text) == tuple(map(raw, keys))


@pytest.mark.parametrize("text", [" ", ",", " , ", "\n"], ids=repr)
def test_a_text_without_any_key_is_refused(text: str) -> None:
    """It was meant to require signatures; if it were accepted, unsigned versions would serve."""
    with pytest.raises(SignatureError, match=r"^it contains no public key; leave it empty to require no signature$"):
        read_public_keys(text)


@pytest.mark.parametrize(
    "text",
    [
        "no key",
        "é",
        encoded(raw(KEY))[:-1],
        encoded(raw(KEY)[:-1]),
        encoded(raw(KEY) + b"\0"),
        encoded(b"\2" + bytes(31)),
        raw(KEY).hex(),
        "-----BEGIN PUBLIC KEY-----",
    ],
    ids=["words", "no ASCII", "unpadded", "short", "long", "no point", "hexadecimal", "PEM"],
)
def test_an_invalid_key_is_refused_with_a_sentence(text: str) -> None:
    """It has the key's position and length but not the key, which may be a private one, pasted by mistake."""
    with pytest.raises(SignatureError) as caught:
        read_public_keys(f"{encoded(raw(KEY))},{text}")
    rule = "is not an Ed25519 public key in base64, raw (32 bytes) or X.509 (44 bytes)"
    assert str(caught.value) == f"key 2, of {len(text)} characters, {rule}"


def test_the_signed_statement_has_the_manifests_hash() -> None:
    """Short enough for AWS KMS, whatever the manifest's length."""
    statement = signed_statement(MANIFEST * 1000)
    assert statement == b"fraud-scorer bundle, manifest sha256 " + sha256(MANIFEST * 1000).hexdigest().encode()


def test_each_key_has_a_file_of_its_own() -> None:
    """During a rotation a release has the signatures of both."""
    assert signature_name(raw(KEY)) == f"manifest.{sha256(raw(KEY)).hexdigest()[:8]}.sig"
    assert signature_name(raw(KEY)) != signature_name(raw(OTHER_KEY))


@pytest.mark.parametrize("key", [raw(OTHER_KEY), b"", bytes(32)], ids=["another", "none", "zeros"])
def test_a_manifest_is_not_signed_by_any_other_key(key: bytes) -> None:
    """The signature itself is valid, but by another key."""
    assert not is_signed(MANIFEST, as_file(KEY, MANIFEST), key)


@given(manifest=st.binary(max_size=2000), draw=st.integers(0))
def test_a_signature_is_valid_for_one_manifest(manifest: bytes, draw: int) -> None:
    """It is invalid for a manifest with any bit flipped. The file of a signature ends with a newline."""
    signature = as_file(KEY, manifest)
    changed = with_bit_flipped(manifest, draw % (8 * len(manifest))) if manifest else b" "
    assert is_signed(manifest, signature, raw(KEY))
    assert not is_signed(changed, signature, raw(KEY))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\n",
        b"!!!!",
        b"\xff\xfe",
        as_file(KEY, MANIFEST)[:-3],
        base64.b64encode(base64.b64decode(as_file(KEY, MANIFEST))[:-1]),
        base64.b64encode(base64.b64decode(as_file(KEY, MANIFEST)) + b"\0"),
        base64.b64decode(as_file(KEY, MANIFEST)),
        base64.b64encode(KEY.sign(MANIFEST)),
        base64.b64encode(base64.b64decode(as_file(KEY, MANIFEST))[:32] + L.to_bytes(32, "little")),
    ],
    ids=["empty", "blank", "no base64", "no ASCII", "cut", "short", "long", "raw", "of the manifest itself", "s is L"],
)
def test_an_invalid_signature_file_is_not_signed(signature: bytes) -> None:
    """No exception is raised, which would be reported as another reason."""
    assert is_signed(MANIFEST, signature, raw(KEY)) is False


@given(signature=st.binary(max_size=200))
def test_a_random_signature_file_is_not_signed(signature: bytes) -> None:
    """Nothing is raised."""
    assert is_signed(MANIFEST, signature, raw(KEY)) is False
