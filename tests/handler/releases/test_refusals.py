"""Released versions that must not serve: the old version keeps serving, and one sentence says why."""

import base64
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.variants import rewrite_manifest
from handler.records.telemetry import REFUSED
from handler.releases.signature import signature_name, signed_statement
from handler.releases.swap import Watcher, load_released
from handler.scoring.bundle import FORMAT, MANIFEST, BundleError, to_json
from handler.scoring.scorer import Scorer
from tests.handler.deployment import Deployment

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))

Damage = Callable[[Path], str | None]
"""Changes a sound bundle in its folder; returns the version that it has then, None if the version stays the same."""


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    return manifest


def with_manifest(**changes: object) -> Damage:
    """Other values of some keys in the manifest."""
    return lambda folder: rewrite_manifest(folder, **changes)


def with_field(field: str, **changes: object) -> Damage:
    """Other values of some keys of a field in the contract."""

    def damage(folder: Path) -> str:
        contract = manifest_of(folder)["contract"]
        contract["fields"][field] |= changes
        return rewrite_manifest(folder, contract=contract)

    return damage


def with_bytes(name: str, change: Callable[[bytes], bytes]) -> Damage:
    """Other bytes in a file, whose hash stays the old one."""

    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def without(name: str, *keys: str) -> Damage:
    """The last of some nested keys left out of a JSON file, whose new hash is in the manifest."""

    def damage(folder: Path) -> str:
        content = inner = json.loads((folder / name).read_bytes())
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        (folder / name).write_bytes(to_json(content))
        files = manifest_of(folder)["files"] | {name: hashlib.sha256(to_json(content)).hexdigest()}
        return rewrite_manifest(folder, files=files)

    return damage


def with_a_bit_flipped(content: bytes) -> bytes:
    """The content with one bit in the middle changed."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def under_another_version(folder: Path) -> None:
    """A sound bundle in the folder of another version."""
    assert rewrite_manifest(folder, windows={}) != folder.name


# The other rules of bundles and contracts are tested in test_bundle.py, test_scorer.py and test_compatibility.py.
REFUSALS = [
    (with_bytes("model.ubj", with_a_bit_flipped), "model.ubj is damaged: its sha256 is "),
    (with_bytes(MANIFEST, lambda content: content[:-1]), "manifest.json is damaged"),
    (lambda folder: (folder / "vocabulary.json").unlink(), "vocabulary.json is missing; the bundle is incomplete"),
    (shutil.rmtree, "manifest.json is missing; the bundle is incomplete"),
    (under_another_version, " of refund"),
    (with_manifest(scorer="transaction"), " of transaction"),
    (with_manifest(format=FORMAT + 1), f"has format {FORMAT + 1}; this code reads formats 3 and {FORMAT}"),
    (with_field("amount", max=100.0), "breaks the contract: its amount has a maximum of 100, not 1e+15"),
    (with_field("item", required=True), "breaks the contract: it requires item"),
    (with_manifest(calibration={"slope": 1.0, "intercept": 0.0}), "the golden request "),
    (with_manifest(contract="none"), "cannot be served: "),
    (with_manifest(calibration={}), "cannot be served: its manifest or reference lacks 'slope'"),
    (without("reference.json", "amount"), "cannot be served: its manifest or reference lacks 'amount'"),
    (without("baseline.json", "combinations"), "its manifest or reference lacks 'combinations'"),
    # The scores are right, and only the reasons fail.
    (without("reference.json", "amount", "percentiles"), "cannot answer them: KeyError('percentiles')"),
    (without("reference.json", "item_category", "shares", "Toys"), "cannot answer them: KeyError('Toys')"),
    # No check of our own covers these.
    (with_manifest(calibration="none"), "TypeError: "),
    (with_manifest(calibration={"slope": "none", "intercept": 0.0}), "TypeError: "),
    (with_manifest(decision=[]), "TypeError: "),
    (
        with_bytes(MANIFEST, lambda content: re.sub(rb'"slope": [^,]+', b'"slope": 1e999', content)),
        "Out of range float values",
    ),
]


def release_damaged(deployment: Deployment, damage: Damage) -> str:
    """Release a version and damage it; returns the version that it has then."""
    folder = deployment.folder(deployment.release(shift=0.5))
    if version := damage(folder):
        folder = folder.rename(folder.with_name(version))
    return folder.name


@pytest.mark.parametrize(("damage", "reason"), REFUSALS, ids=[reason.strip(": ") for _, reason in REFUSALS])
def test_a_version_that_must_not_serve_is_refused(
    deployment: Deployment, caplog: pytest.LogCaptureFixture, damage: Damage, reason: str
) -> None:
    """It is counted and logged once; the version before keeps answering; the next good one is loaded."""
    version = release_damaged(deployment, damage)
    deployment.point(current=version)
    before = deployment.slot.served.scorer
    deployment.look(3)
    assert deployment.slot.served.scorer is before
    refused = deployment.watcher.refused["refund"]
    assert reason in refused
    assert deployment.watcher.counts == {REFUSED: 1}
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, f"refund: {version} is refused: {refused}")
    next_version = deployment.promote(shift=1.0)
    deployment.look()
    assert deployment.served_version == next_version
    assert deployment.watcher.refused == {}


def test_only_the_packaged_contract_is_promised(deployment: Deployment) -> None:
    """What only a released version accepts may be taken back by the next: no deployment promised it."""
    wide = release_damaged(deployment, with_field("item", max_length=1000))
    for version in (wide, deployment.release(shift=1.0)):
        deployment.point(current=version)
        deployment.look()
        assert deployment.served_version == version


def test_a_release_is_read_without_a_promised_contract(deployment: Deployment, refund: Scorer) -> None:
    """A narrower contract is sound in itself; it only must not replace a promised one."""
    version = release_damaged(deployment, with_field("amount", max=1e9))
    assert load_released(deployment.store, "refund", version).version == version
    with pytest.raises(BundleError, match="breaks the contract: its amount has a maximum of 1e"):
        load_released(deployment.store, "refund", version, promised=refund.contract)


def test_a_bundle_that_is_too_large_is_refused(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of it is read than the limit."""
    version = deployment.promote(shift=0.5)
    monkeypatch.setattr("handler.releases.store.MAX_BYTES", 100_000)
    deployment.look()
    assert "model.ubj has more than " in deployment.watcher.refused["refund"]
    assert deployment.served_version != version


def raw(key: Ed25519PrivateKey) -> bytes:
    """A key's public half."""
    return key.public_key().public_bytes_raw()


def file_name(key: Ed25519PrivateKey) -> str:
    """The name of the file with a key's signature."""
    return signature_name(raw(key))


def signature(manifest: bytes, key: Ed25519PrivateKey = KEY) -> bytes:
    """A key's signature of a manifest, as its file holds it."""
    return base64.b64encode(key.sign(signed_statement(manifest))) + b"\n"


def sign(deployment: Deployment, version: str, *keys: Ed25519PrivateKey) -> None:
    """Add signatures to a version, as `training.delivery.publish` does."""
    folder = deployment.folder(version)
    for key in keys:
        (folder / file_name(key)).write_bytes(signature((folder / MANIFEST).read_bytes(), key))


def look_with_keys(deployment: Deployment, *keys: Ed25519PrivateKey) -> Watcher:
    """A watcher that serves only what one of the keys signed, after its first look."""
    public_keys = tuple(map(raw, keys))
    watcher = Watcher(deployment.store, {"refund": deployment.slot}, seconds=3600, public_keys=public_keys)
    watcher.look()
    return watcher


@pytest.mark.parametrize(
    ("trusted", "signing"),
    [([KEY], [KEY]), ([KEY], [KEY, OTHER_KEY]), ([KEY, OTHER_KEY], [KEY]), ([KEY, OTHER_KEY], [OTHER_KEY])],
    ids=["the only key", "another key too", "the first of two", "the second of two"],
)
def test_a_version_signed_by_one_of_the_trusted_keys_serves(
    deployment: Deployment, trusted: Sequence[Ed25519PrivateKey], signing: Sequence[Ed25519PrivateKey]
) -> None:
    """Each key's signature has its own file, so that keys can be rotated."""
    version = deployment.promote(shift=0.5)
    sign(deployment, version, *signing)
    look_with_keys(deployment, *trusted)
    assert deployment.served_version == version


@pytest.mark.parametrize("trusted", [[KEY], [KEY, OTHER_KEY]], ids=["one key", "two keys"])
def test_an_unsigned_version_is_refused(deployment: Deployment, trusted: Sequence[Ed25519PrivateKey]) -> None:
    """The reason names each file that would have made it valid."""
    version = deployment.promote(shift=0.5)
    watcher = look_with_keys(deployment, *trusted)
    names = " or ".join(map(file_name, trusted))
    reason = f"{deployment.store}/refund/bundles/{version} is not signed by a trusted key; it needs a valid {names}"
    assert watcher.refused["refund"] == reason
    assert deployment.served_version != version


@pytest.mark.parametrize(
    ("name", "signature_of"),
    [
        (file_name(KEY), lambda manifest: signature(manifest, OTHER_KEY)),
        (file_name(KEY), lambda manifest: signature(manifest + b" ")),
        (file_name(KEY), lambda manifest: base64.b64encode(KEY.sign(manifest))),
        (file_name(OTHER_KEY), signature),
    ],
    ids=["another key", "another manifest", "the bare manifest", "in another key's file"],
)
def test_a_wrong_signature_is_refused(
    deployment: Deployment, name: str, signature_of: Callable[[bytes], bytes]
) -> None:
    """The bundle is sound otherwise."""
    version = deployment.promote(shift=0.5)
    folder = deployment.folder(version)
    (folder / name).write_bytes(signature_of((folder / MANIFEST).read_bytes()))
    watcher = look_with_keys(deployment, KEY)
    assert watcher.refused["refund"].endswith(f"is not signed by a trusted key; it needs a valid {file_name(KEY)}")
    assert deployment.served_version != version


def test_a_signature_does_not_vouch_for_changed_files(deployment: Deployment) -> None:
    """It signs the manifest, which has each file's hash."""
    version = deployment.promote(shift=0.5)
    sign(deployment, version, KEY)
    with_bytes("model.ubj", with_a_bit_flipped)(deployment.folder(version))
    assert "model.ubj is damaged" in look_with_keys(deployment, KEY).refused["refund"]
