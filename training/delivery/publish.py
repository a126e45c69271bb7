"""Publish a bundle with its documents and a note of who released it, when and from which commit; optionally signed."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from handler.releases.signature import SignatureError, read_public_keys, signature_name, signed_statement
from handler.releases.store import bundle_key
from handler.scoring.bundle import FILES, MANIFEST
from handler.scoring.scorer import load_scorer
from training.data.times import utc_now
from training.delivery.documents import release_documents
from training.delivery.runtime_packages import REQUIREMENTS, read_runtime_packages
from training.delivery.store_writer import StoreWriter, read_if_there, store_json
from training.errors import StageError
from training.run.provenance import origin, person

# The metrics that a release note keeps.
LISTED = ("average_precision", "recall", "precision", "alert_rate", "expected_calibration_error")
KMS = "kms:"


def publish(store: StoreWriter, folder: Path, signing_key: str = "", requirements: Path = REQUIREMENTS) -> str:
    """Publish a bundle's folder to the store, and return its version.

    `signing_key` names a PEM file with an Ed25519 key, or is kms: and the id of a key in AWS KMS; if it is empty,
    nothing is signed. `requirements` pins the packages of the artifact. The note and documents of an earlier release of
    the same version are kept. Raises BundleError if the bundle is damaged, and StageError or StoreError if it cannot be
    described, signed or written.
    """
    scorer = load_scorer(folder)
    name, version = scorer.bundle.scorer, scorer.version
    contents = {file: (folder / file).read_bytes() for file in (*FILES, MANIFEST)}
    key = f"{name}/releases/{version}"
    documents = release_documents(scorer, read_runtime_packages(requirements))
    signature = sign(contents[MANIFEST], signing_key) if signing_key else {}
    if read_if_there(store, f"{key}.json") is None:
        store.put_new(f"{key}.json", store_json(_note(version, scorer.bundle.manifest["metrics"])))
    for ending, content in documents.items():
        if read_if_there(store, f"{key}.{ending}") is None:
            store.put_new(f"{key}.{ending}", content)
    store.put_bundle(name, version, {**signature, **contents})
    for file, content in signature.items():
        # Adds the signature if the bundle was published before, unsigned or signed with another key.
        store.put_new(bundle_key(name, version, file), content)
    return version


def _note(version: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The release note."""
    return {
        "version": version,
        "at": utc_now(),
        "by": person(),
        **origin(),
        "metrics": {name: metrics[name] for name in LISTED},
    }


def sign(manifest: bytes, key: str) -> dict[str, bytes]:
    """The signature of a manifest, by its file name; raises StageError if the key cannot sign."""
    return signature_of(signed_statement(manifest), key)


def signature_of(statement: bytes, key: str) -> dict[str, bytes]:
    """The signature to publish for a statement, by its key's file name; raises StageError if the key cannot sign."""
    signed = _signed_by_kms(statement, key.removeprefix(KMS)) if key.startswith(KMS) else _signed(statement, Path(key))
    public_key, signature = signed
    return {signature_name(public_key): base64.b64encode(signature) + b"\n"}


def _signed(statement: bytes, file: Path) -> tuple[bytes, bytes]:
    """The raw public key, and the signature."""
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise StageError(f"{file} is not a private key in PEM without a password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StageError(f"{file} holds another kind of key; it must be Ed25519 (openssl genpkey -algorithm ed25519)")
    return key.public_key().public_bytes_raw(), key.sign(statement)


def _signed_by_kms(statement: bytes, key_id: str) -> tuple[bytes, bytes]:
    import boto3  # noqa: PLC0415 - needed only if KMS holds the key
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    try:
        client = boto3.client("kms")
        (public_key,) = read_public_keys(base64.b64encode(client.get_public_key(KeyId=key_id)["PublicKey"]).decode())
        answer = client.sign(KeyId=key_id, Message=statement, MessageType="RAW", SigningAlgorithm="ED25519_SHA_512")
    except (BotoCoreError, ClientError, SignatureError) as error:
        raise StageError(f"AWS KMS cannot sign with {key_id}: {error}") from error
    return public_key, answer["Signature"]
