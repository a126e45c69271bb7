"""Publishing: the version, its release note and documents, and signatures by a key file or by AWS KMS."""

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
from training.delivery.documents import OPENAPI, SBOM
from training.delivery.publish import LISTED, publish, sign
from training.delivery.runtime_packages import REQUIREMENTS
from training.delivery.store_writer import FolderStoreWriter, S3StoreWriter, read_if_there
from training.errors import StageError

AnyStore = FolderStoreWriter | S3StoreWriter
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
    """The path of the key's PEM file."""
    path = tmp_path / "key.pem"
    path.write_bytes(pem(key))
    return str(path)


def public(key: Ed25519PrivateKey) -> bytes:
    """A key's public half, raw."""
    return key.public_key().public_bytes_raw()


def signatures_in(store: AnyStore, version: str) -> list[str]:
    """The names of a version's signature files."""
    return [name for name in store.names(f"mini/bundles/{version}") if name.endswith(".sig")]


def note_of(store: FolderStoreWriter, version: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The note of a version's release."""
    return json.loads((store.root / "mini" / "releases" / f"{version}.json").read_bytes())


def test_published_bundle_serves_under_its_version(store: AnyStore, mini_bundle: Path) -> None:
    """The published version is the manifest's, without a signature; publishing it again changes nothing."""
    for _ in range(2):
        version = publish(store, mini_bundle)
        assert version == load_bundle(mini_bundle).version
        assert store.names("mini/bundles") == [version]
        assert load_released(store, "mini", version).version == version
        assert signatures_in(store, version) == []


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda folder: (folder / "model.ubj").write_bytes(b"no model"), r"model\.ubj is damaged"),
        # All hashes are right here, but the answers differ from the golden cases'.
        (
            lambda folder: rewrite_manifest(folder, calibration={"slope": 1.0, "intercept": 0.5}),
            r"the golden request .* in training it gave",
        ),
    ],
    ids=["damaged", "other answers"],
)
def test_unsound_bundle_is_not_published(
    folder_store: FolderStoreWriter, variant: Callable[..., Path], spoil: Callable[[Path], object], error: str
) -> None:
    """An unsound bundle is refused, and nothing of it is stored, not even a note."""
    folder = variant(shift=1)
    spoil(folder)
    with pytest.raises(BundleError, match=error):
        publish(folder_store, folder)
    assert folder_store.names("mini") == []


def test_note_describes_the_first_release(
    folder_store: FolderStoreWriter, mini_bundle: Path, commit: Callable[[str], str]
) -> None:
    """It has the version, the person, the time in UTC, the commit, the lock and the metrics of the first release."""
    head, metrics = commit("one"), load_bundle(mini_bundle).manifest["metrics"]
    earliest = datetime.now(UTC).replace(microsecond=0)
    version = publish(folder_store, mini_bundle)
    note = note_of(folder_store, version)
    assert earliest <= datetime.fromisoformat(note["at"]) <= datetime.now(UTC)
    origin = {name: note[name] for name in ("version", "by", "commit", "dvc_lock_sha256")}
    assert origin == {"version": version, "by": "Ada Example", "commit": head, "dvc_lock_sha256": None}
    assert note["metrics"] == {name: metrics[name] for name in LISTED}
    commit("two")
    publish(folder_store, mini_bundle)
    assert note_of(folder_store, version)["commit"] == head


def test_release_has_its_documents(store: AnyStore, mini_bundle: Path) -> None:
    """They are stored beside the note: the scorer's OpenAPI document, and the SBOM with the training libraries."""
    version = publish(store, mini_bundle)
    assert store.names("mini/releases") == [f"{version}.{SBOM}", f"{version}.json", f"{version}.{OPENAPI}"]
    document, bill = (json.loads(store.read(f"mini/releases/{version}.{end}", 1 << 20)) for end in (OPENAPI, SBOM))
    bundle = load_bundle(mini_bundle)
    assert bundle.contract.route in document["paths"]
    scopes = {entry["purl"]: entry["scope"] for entry in bill["components"] if "purl" in entry}
    assert scopes[f"pkg:pypi/scikit-learn@{bundle.libraries['scikit-learn']}"] == "excluded"
    assert sum(scope == "required" for scope in scopes.values()) == REQUIREMENTS.read_text().count("==")


def test_documents_are_those_of_the_first_release(store: AnyStore, mini_bundle: Path, tmp_path: Path) -> None:
    """Releasing a version again succeeds and changes neither document, even if the packages have changed since."""
    version = publish(store, mini_bundle)
    first = {name: store.read(f"mini/releases/{name}", 1 << 20) for name in store.names("mini/releases")}
    changed = tmp_path / "requirements.txt"
    changed.write_text(REQUIREMENTS.read_text().replace("fastapi==", "fastapi==9."))
    assert publish(store, mini_bundle, requirements=changed) == version
    assert {name: store.read(f"mini/releases/{name}", 1 << 20) for name in store.names("mini/releases")} == first


def test_documents_are_added_to_an_older_release(folder_store: FolderStoreWriter, mini_bundle: Path) -> None:
    """A release that has only a note gets its documents when it is released again."""
    version = publish(folder_store, mini_bundle)
    folder = folder_store.root / "mini" / "releases"
    bill = (folder / f"{version}.{SBOM}").read_bytes()
    for ending in (OPENAPI, SBOM):
        (folder / f"{version}.{ending}").unlink()
    publish(folder_store, mini_bundle)
    assert (folder / f"{version}.{SBOM}").read_bytes() == bill


def test_release_without_its_packages_is_refused(
    folder_store: FolderStoreWriter, mini_bundle: Path, tmp_path: Path
) -> None:
    """If the file that pins them is missing or damaged, the error names it, and nothing is written."""
    path = tmp_path / "requirements.txt"
    with pytest.raises(StageError, match=r"requirements\.txt cannot be read: No such file or directory; `make lock`"):
        publish(folder_store, mini_bundle, requirements=path)
    path.write_text("fastapi")
    with pytest.raises(StageError, match=r"requirements\.txt is damaged: 'fastapi' is not a package with a version"):
        publish(folder_store, mini_bundle, requirements=path)
    assert folder_store.names("mini") == []


def test_signature_is_of_one_key_and_one_manifest(
    mini_bundle: Path, variant: Callable[..., Path], key: Ed25519PrivateKey, key_file: str
) -> None:
    """A signature is one line of base64, and the public key accepts it only for the signed manifest."""
    manifest = (mini_bundle / MANIFEST).read_bytes()
    (signature,) = sign(manifest, key_file).values()
    assert is_signed(manifest, signature, public(key))
    assert not is_signed(manifest, signature, public(Ed25519PrivateKey.generate()))
    assert not is_signed((variant(shift=1) / MANIFEST).read_bytes(), signature, public(key))
    assert signature.endswith(b"\n")
    assert len(base64.b64decode(signature.strip(), validate=True)) == 64


def test_release_may_be_signed_later_and_by_several_keys(
    store: AnyStore, mini_bundle: Path, key: Ed25519PrivateKey, key_file: str, tmp_path: Path
) -> None:
    """Each publication with a key adds its signature for good; the version loads if any one of them is trusted."""
    other = Ed25519PrivateKey.generate()
    (tmp_path / "other.pem").write_bytes(pem(other))
    version = publish(store, mini_bundle)
    signature_key = bundle_key("mini", version, signature_name(public(key)))
    assert read_if_there(store, signature_key) is None
    publish(store, mini_bundle, key_file)
    signature = read_if_there(store, signature_key)
    for again in (key_file, "", str(tmp_path / "other.pem")):
        publish(store, mini_bundle, again)
        assert read_if_there(store, signature_key) == signature is not None
    assert signatures_in(store, version) == sorted(signature_name(public(signer)) for signer in (key, other))
    for signer in (key, other):
        assert load_released(store, "mini", version, public_keys=(public(signer),)).version == version


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
def test_key_that_cannot_sign_is_refused(
    folder_store: FolderStoreWriter, mini_bundle: Path, tmp_path: Path, content: bytes | None, why: str
) -> None:
    """The error says what is wrong with the key, and nothing is published."""
    if content:
        (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(StageError, match=rf"key\.pem {why}"):
        publish(folder_store, mini_bundle, str(tmp_path / "key.pem"))
    assert folder_store.names("mini") == []


class FakeKms:
    """AWS KMS with one Ed25519 key; signs as the service does and keeps the last request."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Hold a key."""
        self.key, self.request = key, {}

    def sign(self, **request: Any) -> dict[str, bytes]:  # noqa: ANN401 - as boto3 has it
        """The signature of a message."""
        self.request = request
        return {"Signature": self.key.sign(request["Message"])}

    def get_public_key(self, **request: str) -> dict[str, bytes]:
        """The public half of a key, as X.509 has it."""
        assert request == {"KeyId": "alias/release"}
        return {"PublicKey": self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)}


@pytest.fixture
def kms(key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch) -> FakeKms:
    """The fake KMS that boto3 connects to, since moto's has no Ed25519."""
    service = FakeKms(key)
    monkeypatch.setattr(boto3, "client", {"kms": service}.__getitem__)
    return service


def test_kms_signs_as_a_file_does(mini_bundle: Path, key_file: str, kms: FakeKms) -> None:
    """The signature equals that of the same key in a file; KMS gets a short statement in place of the long manifest."""
    manifest = (mini_bundle / MANIFEST).read_bytes()
    assert sign(manifest, "kms:alias/release") == sign(manifest, key_file)
    assert kms.request == {
        "KeyId": "alias/release",
        "Message": signed_statement(manifest),
        "MessageType": "RAW",
        "SigningAlgorithm": "ED25519_SHA_512",
    }
    assert len(kms.request["Message"]) < KMS_LIMIT < len(manifest)


@pytest.mark.usefixtures("s3_environment")
def test_kms_has_these_parameters() -> None:
    """The parameters, and the limit of the message's size, are those of botocore's description of the service."""
    shape = boto3.client("kms").meta.service_model.operation_model("Sign").input_shape
    assert {"KeyId", "Message", "MessageType", "SigningAlgorithm"} <= shape.members.keys()
    assert "ED25519_SHA_512" in shape.members["SigningAlgorithm"].enum
    assert "RAW" in shape.members["MessageType"].enum
    assert shape.members["Message"].metadata["max"] == KMS_LIMIT


@pytest.mark.usefixtures("s3_environment")
def test_key_that_kms_does_not_have_is_an_error(mini_bundle: Path) -> None:
    """If KMS refuses to sign, the release fails with KMS's own reason."""
    with pytest.raises(StageError, match=r"AWS KMS cannot sign with alias/none: .*NotFoundException"):
        sign((mini_bundle / MANIFEST).read_bytes(), "kms:alias/none")
