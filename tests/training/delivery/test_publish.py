"""Publishing: the version, the note of who released it first, signatures by a file's key and by one in AWS KMS."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from benchmarks.variants import rewrite_manifest
from handler.releases.signature import is_signed, signature_name, signed_statement
from handler.releases.store import bundle_key
from handler.releases.swap import load_released
from handler.scoring.bundle import MANIFEST, BundleError, load_bundle
from training.delivery.publish import LISTED, publish, sign
from training.delivery.store_writer import FolderStoreWriter, S3StoreWriter, read_if_there
from training.errors import StageError

KMS_LIMIT = 4096


def pem(key: Ed25519PrivateKey | rsa.RSAPrivateKey, password: bytes | None = None) -> bytes:
    """A key as `openssl genpkey` writes it."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.fixture
def key() -> Ed25519PrivateKey:
    """A new key."""
    return Ed25519PrivateKey.generate()


@pytest.fixture
def key_file(key: Ed25519PrivateKey, tmp_path: Path) -> str:
    """Where the key lies, in PEM."""
    path = tmp_path / "key.pem"
    path.write_bytes(pem(key))
    return str(path)


def public(key: Ed25519PrivateKey) -> bytes:
    """A key's public half, raw."""
    return key.public_key().public_bytes_raw()


def signature_of(store: FolderStoreWriter | S3StoreWriter, version: str, key: Ed25519PrivateKey) -> bytes | None:
    """The signature that a store holds of a version by a key, None where there is none."""
    return read_if_there(store, bundle_key("mini", version, signature_name(public(key))))


def signatures_in(store: FolderStoreWriter | S3StoreWriter, version: str) -> list[str]:
    """The files of a version's signatures."""
    return [name for name in store.names(f"mini/bundles/{version}") if name.endswith(".sig")]


def note_of(store: FolderStoreWriter, version: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """What a store says of a version's release."""
    return json.loads((store.root / "mini" / "releases" / f"{version}.json").read_bytes())


def test_a_published_bundle_serves_under_its_version(
    store: FolderStoreWriter | S3StoreWriter, mini_bundle: Path
) -> None:
    """The version that comes back is the manifest's, and the store then holds it whole."""
    version = publish(store, mini_bundle)
    assert version == load_bundle(mini_bundle).version
    assert load_released(store, "mini", version).version == version


def test_publishing_again_changes_nothing(store: FolderStoreWriter | S3StoreWriter, mini_bundle: Path) -> None:
    """A second publication of a version gives the same version and leaves what is there."""
    version = publish(store, mini_bundle)
    assert publish(store, mini_bundle) == version
    assert store.names("mini/bundles") == [version]


def test_an_unsound_bundle_is_not_published(folder_store: FolderStoreWriter, variant: Callable[..., Path]) -> None:
    """A bundle that is damaged in its own folder is refused, and the store holds nothing of it, not even a note."""
    folder = variant(shift=1)
    (folder / "model.ubj").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"model\.ubj is damaged"):
        publish(folder_store, folder)
    assert folder_store.names("mini") == []


def test_a_bundle_that_computes_otherwise_is_not_published(
    folder_store: FolderStoreWriter, variant: Callable[..., Path]
) -> None:
    """A bundle whose golden cases have other answers is refused, although every hash is right."""
    folder = variant()
    rewrite_manifest(folder, calibration={"slope": 1.0, "intercept": 0.5})
    with pytest.raises(BundleError, match=r"the golden request .* in training it gave"):
        publish(folder_store, folder)
    assert folder_store.names("mini") == []


def test_a_note_says_who_when_and_from_what(
    folder_store: FolderStoreWriter, mini_bundle: Path, commit: Callable[[str], str]
) -> None:
    """The note of a release has the version, the person, the moment in UTC, the commit and the lock."""
    head = commit("one")
    earliest = datetime.now(UTC).replace(microsecond=0)
    version = publish(folder_store, mini_bundle)
    note = note_of(folder_store, version)
    assert earliest <= datetime.fromisoformat(note["at"]) <= datetime.now(UTC)
    told = {name: note[name] for name in ("version", "by", "commit", "dvc_lock_sha256")}
    assert told == {"version": version, "by": "Ada Example", "commit": head, "dvc_lock_sha256": None}


def test_a_note_has_the_measured_metrics(folder_store: FolderStoreWriter, mini_bundle: Path) -> None:
    """The metrics of a note are those that the manifest has of the evaluated window."""
    metrics = load_bundle(mini_bundle).manifest["metrics"]
    assert note_of(folder_store, publish(folder_store, mini_bundle))["metrics"] == {
        name: metrics[name] for name in LISTED
    }


def test_a_note_is_of_the_first_release(
    folder_store: FolderStoreWriter, mini_bundle: Path, commit: Callable[[str], str]
) -> None:
    """Who publishes a version again, from another commit, does not take it over."""
    first = commit("one")
    publish(folder_store, mini_bundle)
    commit("two")
    assert note_of(folder_store, publish(folder_store, mini_bundle))["commit"] == first


def test_without_a_key_nothing_is_signed(folder_store: FolderStoreWriter, mini_bundle: Path) -> None:
    """A release is unsigned unless a key is given."""
    assert signatures_in(folder_store, publish(folder_store, mini_bundle)) == []


def test_a_signed_bundle_serves_where_its_key_is_trusted(
    store: FolderStoreWriter | S3StoreWriter, mini_bundle: Path, key: Ed25519PrivateKey, key_file: str
) -> None:
    """What a key has signed is accepted by who trusts its public half."""
    version = publish(store, mini_bundle, key_file)
    assert load_released(store, "mini", version, public_keys=(public(key),)).version == version


def test_a_signature_is_of_one_key(mini_bundle: Path, key: Ed25519PrivateKey, key_file: str) -> None:
    """The key's own public half accepts the signature, another's does not."""
    manifest = (mini_bundle / MANIFEST).read_bytes()
    (signature,) = sign(manifest, key_file).values()
    assert is_signed(manifest, signature, public(key))
    assert not is_signed(manifest, signature, public(Ed25519PrivateKey.generate()))


def test_a_signature_is_of_one_manifest(
    mini_bundle: Path, variant: Callable[..., Path], key: Ed25519PrivateKey, key_file: str
) -> None:
    """The signature of a bundle does not go for another."""
    (signature,) = sign((mini_bundle / MANIFEST).read_bytes(), key_file).values()
    assert not is_signed((variant(shift=1) / MANIFEST).read_bytes(), signature, public(key))


def test_a_release_may_be_signed_later(
    store: FolderStoreWriter | S3StoreWriter, mini_bundle: Path, key: Ed25519PrivateKey, key_file: str
) -> None:
    """Publishing with a key what was published without adds the signature."""
    version = publish(store, mini_bundle)
    assert signature_of(store, version, key) is None
    publish(store, mini_bundle, key_file)
    assert load_released(store, "mini", version, public_keys=(public(key),)).version == version


def test_another_key_signs_beside(
    store: FolderStoreWriter | S3StoreWriter, mini_bundle: Path, key: Ed25519PrivateKey, key_file: str, tmp_path: Path
) -> None:
    """While keys change a release has the signatures of both, and serves where only one of them is trusted."""
    other = Ed25519PrivateKey.generate()
    (tmp_path / "other.pem").write_bytes(pem(other))
    version = publish(store, mini_bundle, key_file)
    publish(store, mini_bundle, str(tmp_path / "other.pem"))
    assert signatures_in(store, version) == sorted(signature_name(public(one)) for one in (key, other))
    for one in (key, other):
        assert load_released(store, "mini", version, public_keys=(public(one),)).version == version


def test_a_signature_stays(
    folder_store: FolderStoreWriter, mini_bundle: Path, key: Ed25519PrivateKey, key_file: str
) -> None:
    """Who publishes again, with the key or without one, changes nothing of the signature."""
    version = publish(folder_store, mini_bundle, key_file)
    signature = signature_of(folder_store, version, key)
    publish(folder_store, mini_bundle, key_file)
    publish(folder_store, mini_bundle)
    assert signature_of(folder_store, version, key) == signature is not None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(None, "is not a private key in PEM without a password: .*No such file", id="missing"),
        pytest.param(b"a key", "is not a private key in PEM without a password", id="no key"),
        pytest.param(
            pem(Ed25519PrivateKey.generate(), b"secret"),
            "is not a private key in PEM without a password: .*encrypted",
            id="password",
        ),
        pytest.param(
            pem(rsa.generate_private_key(public_exponent=65_537, key_size=1024)),  # noqa: S505 - signs nothing
            r"holds another kind of key; it must be Ed25519 \(openssl genpkey -algorithm ed25519\)",
            id="rsa",
        ),
    ],
)
def test_a_key_that_cannot_sign_is_refused(
    folder_store: FolderStoreWriter, mini_bundle: Path, tmp_path: Path, content: bytes | None, why: str
) -> None:
    """A key of another kind, one with a password and none at all are told; nothing is published then."""
    if content:
        (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(StageError, match=rf"key\.pem {why}"):
        publish(folder_store, mini_bundle, str(tmp_path / "key.pem"))
    assert folder_store.names("mini") == []


class FakeKms:
    """AWS KMS with one Ed25519 key; it signs as the service does and keeps what it was asked."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Hold a key."""
        self.key, self.asked = key, {}

    def sign(self, **asked: Any) -> dict[str, bytes]:  # noqa: ANN401 - as boto3 has it
        """The signature of a message."""
        self.asked = asked
        return {"Signature": self.key.sign(asked["Message"])}

    def get_public_key(self, **asked: str) -> dict[str, bytes]:
        """The public half of a key, as X.509 has it."""
        assert asked == {"KeyId": "alias/release"}
        return {"PublicKey": self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)}


@pytest.fixture
def kms(key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch) -> FakeKms:
    """A KMS that boto3 connects to; moto's knows no Ed25519."""
    service = FakeKms(key)
    monkeypatch.setattr(boto3, "client", {"kms": service}.__getitem__)
    return service


def test_kms_signs_as_a_file_does(mini_bundle: Path, key_file: str, kms: FakeKms) -> None:  # noqa: ARG001 - who signs
    """A key in KMS makes the same signature, in a file of the same name, as the same key in a file."""
    manifest = (mini_bundle / MANIFEST).read_bytes()
    assert sign(manifest, "kms:alias/release") == sign(manifest, key_file)


def test_kms_is_asked_for_a_plain_ed25519_signature(mini_bundle: Path, kms: FakeKms) -> None:
    """KMS gets the key's id and the statement itself, short enough for it, to sign by RFC 8032's plain Ed25519."""
    manifest = (mini_bundle / MANIFEST).read_bytes()
    sign(manifest, "kms:alias/release")
    assert kms.asked == {
        "KeyId": "alias/release",
        "Message": signed_statement(manifest),
        "MessageType": "RAW",
        "SigningAlgorithm": "ED25519_SHA_512",
    }
    assert len(kms.asked["Message"]) < KMS_LIMIT < len(manifest)


@pytest.mark.usefixtures("s3_environment")
def test_kms_knows_what_it_is_asked() -> None:
    """The parameters are those of AWS's own description of the service, and so is the limit of the message."""
    shape = boto3.client("kms").meta.service_model.operation_model("Sign").input_shape
    assert {"KeyId", "Message", "MessageType", "SigningAlgorithm"} <= shape.members.keys()
    assert "ED25519_SHA_512" in shape.members["SigningAlgorithm"].enum
    assert "RAW" in shape.members["MessageType"].enum
    assert shape.members["Message"].metadata["max"] == KMS_LIMIT


@pytest.mark.usefixtures("s3_environment")
def test_a_key_that_kms_does_not_have_is_told(mini_bundle: Path) -> None:
    """Where KMS refuses, so does the release, with KMS's own reason."""
    with pytest.raises(StageError, match=r"AWS KMS cannot sign with alias/none: .*NotFoundException"):
        sign((mini_bundle / MANIFEST).read_bytes(), "kms:alias/none")


def test_a_signature_is_one_line_of_base64(mini_bundle: Path, key_file: str) -> None:
    """The file beside the manifest is text: 64 bytes in base64."""
    (signature,) = sign((mini_bundle / MANIFEST).read_bytes(), key_file).values()
    assert signature.endswith(b"\n")
    assert len(base64.b64decode(signature.strip(), validate=True)) == 64
