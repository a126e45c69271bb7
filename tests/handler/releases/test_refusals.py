"""What a pointer may name without its ever serving: the old version serves on, and one sentence says why."""

import base64
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.variants import rewrite_manifest
from handler.records.telemetry import REFUSED
from handler.releases.served import Slot
from handler.releases.signature import signature_name, signed_statement
from handler.releases.store import Pointer, bundle_key
from handler.releases.swap import Watcher, load_released
from handler.scoring.bundle import FORMAT, MANIFEST, BundleError, to_json
from handler.scoring.scorer import Scorer
from training.delivery.store_writer import FolderStoreWriter

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
TRUSTED = KEY.public_key().public_bytes_raw()
OTHER_TRUSTED = OTHER_KEY.public_key().public_bytes_raw()
SIGNATURE = signature_name(TRUSTED)

Damage = Callable[[FolderStoreWriter, str], str | None]
"""Changes a sound version in the store; returns the version that it has then, None where it has the same."""


@pytest.fixture
def slot(refund: Scorer) -> Slot:
    """Refund's place, where the packaged version serves."""
    return Slot(refund)


@pytest.fixture
def watcher(store_writer: FolderStoreWriter, slot: Slot) -> Watcher:
    """Watches that place."""
    return Watcher(store_writer, {"refund": slot}, seconds=3600)


@pytest.fixture
def guarded(store_writer: FolderStoreWriter, slot: Slot) -> Watcher:
    """Watches it too, and serves only what a trusted key signed."""
    return Watcher(store_writer, {"refund": slot}, seconds=3600, public_keys=(TRUSTED,))


def folder_of(store_writer: FolderStoreWriter, version: str) -> Path:
    """Where a version of refund's bundle lies."""
    return store_writer.root / bundle_key("refund", version, "")


def rewriting(**changes: object) -> Damage:
    """Other keys in the manifest, and the version that they give."""

    def damage(store_writer: FolderStoreWriter, version: str) -> str:
        folder = folder_of(store_writer, version)
        changed = rewrite_manifest(folder, **changes)
        folder.rename(folder_of(store_writer, changed))
        return changed

    return damage


def naming_another_file(name: str) -> Damage:
    """A file elsewhere among those of the manifest."""

    def damage(store_writer: FolderStoreWriter, version: str) -> str | None:
        files = json.loads((folder_of(store_writer, version) / MANIFEST).read_bytes())["files"]
        return rewriting(files={**files, name: "0" * 64})(store_writer, version)

    return damage


def rehashing(name: str, change: Callable[[Any], Any]) -> Damage:
    """Other content in one of its JSON files, with the hash and the version that it gives."""

    def damage(store_writer: FolderStoreWriter, version: str) -> str | None:
        path = folder_of(store_writer, version) / name
        path.write_bytes(to_json(change(json.loads(path.read_bytes()))))
        files = json.loads((path.parent / MANIFEST).read_bytes())["files"]
        return rewriting(files={**files, name: hashlib.sha256(path.read_bytes()).hexdigest()})(store_writer, version)

    return damage


def without(*keys: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What leaves the last of some nested keys out of a JSON object."""

    def change(content: dict[str, Any]) -> dict[str, Any]:
        *outer, last = keys
        inner = content
        for key in outer:
            inner = inner[key]
        del inner[last]
        return content

    return change


def ask_for_a_negative_amount(golden: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A golden request that its own contract refuses, the third."""
    golden[2]["request"]["amount"] = -1.0
    return golden


def with_field(field: str, **changes: object) -> Damage:
    """A contract with other keys of a field."""

    def damage(store_writer: FolderStoreWriter, version: str) -> str | None:
        contract = json.loads((folder_of(store_writer, version) / MANIFEST).read_bytes())["contract"]
        contract["fields"][field] |= changes
        return rewriting(contract=contract)(store_writer, version)

    return damage


def flip_a_bit(store_writer: FolderStoreWriter, version: str) -> None:
    """In the middle of the model."""
    path = folder_of(store_writer, version) / "model.ubj"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_the_manifest(store_writer: FolderStoreWriter, version: str) -> None:
    """By its last byte."""
    path = folder_of(store_writer, version) / MANIFEST
    path.write_bytes(path.read_bytes()[:-1])


def remove_the_vocabulary(store_writer: FolderStoreWriter, version: str) -> None:
    """As where a copy broke off."""
    (folder_of(store_writer, version) / "vocabulary.json").unlink()


def remove_all(store_writer: FolderStoreWriter, version: str) -> None:
    """As where it never was published."""
    shutil.rmtree(folder_of(store_writer, version))


def put_another_version_there(store_writer: FolderStoreWriter, version: str) -> None:
    """A sound bundle under the name of another."""
    assert rewrite_manifest(folder_of(store_writer, version), windows={}) != version


def write_an_infinite_number(store_writer: FolderStoreWriter, version: str) -> None:
    """Which JSON does not know, though Python reads it."""
    path = folder_of(store_writer, version) / MANIFEST
    path.write_bytes(re.sub(rb'"slope": [^,]+', b'"slope": 1e999', path.read_bytes()))


def have_other_numbers(store_writer: FolderStoreWriter, version: str) -> str | None:
    """Another calibration than the golden cases were computed with."""
    calibration = json.loads((folder_of(store_writer, version) / MANIFEST).read_bytes())["calibration"]
    return rewriting(calibration={**calibration, "intercept": calibration["intercept"] + 0.01})(store_writer, version)


REFUSALS = [
    (flip_a_bit, "model.ubj is damaged: its sha256 is "),
    (cut_the_manifest, "manifest.json is damaged"),
    (remove_the_vocabulary, "vocabulary.json is missing; the bundle is incomplete"),
    (remove_all, "manifest.json is missing; the bundle is incomplete"),
    (put_another_version_there, " of refund"),
    (rewriting(scorer="transaction"), " of transaction"),
    (rewriting(format=FORMAT + 1), f"has format {FORMAT + 1}; this code reads format {FORMAT}"),
    (naming_another_file("/etc/passwd"), "names the files /etc/passwd, baseline.json, golden.json, "),
    (
        naming_another_file("../../../pointer.json"),
        "names the files ../../../pointer.json, baseline.json, golden.json, ",
    ),
    (with_field("amount", max=100.0), "breaks the contract: its amount has a maximum of 100, not 1e+15"),
    (with_field("item", required=True), "breaks the contract: it requires item"),
    (have_other_numbers, "the golden request "),
    (rewriting(contract="none"), "cannot be served: "),
    (rewriting(calibration={}), "cannot be served: its manifest or reference lacks 'slope'"),
    (rehashing("reference.json", without("amount")), "cannot be served: its manifest or reference lacks 'amount'"),
    (rehashing("baseline.json", without("combinations")), "its manifest or reference lacks 'combinations'"),
    (rehashing("golden.json", lambda _: []), "has no golden cases; nothing proves that it computes what"),
    (rehashing("golden.json", ask_for_a_negative_amount), ": golden request 2 is outside the bundle's own contract"),
    # What scores, and fails only once it is to explain itself.
    (
        rehashing("reference.json", without("amount", "percentiles")),
        "scores its golden requests and cannot answer them: KeyError('percentiles')",
    ),
    (
        rehashing("reference.json", without("item_category", "shares", "Toys")),
        "scores its golden requests and cannot answer them: KeyError('Toys')",
    ),
    # What no exception of ours foresees.
    (rewriting(calibration="none"), "TypeError: "),
    (rewriting(calibration={"slope": "none", "intercept": 0.0}), "TypeError: "),
    (rewriting(decision=[]), "TypeError: "),
    (write_an_infinite_number, "Out of range float values"),
]


@pytest.fixture(params=REFUSALS, ids=[sentence.strip(": ") for _, sentence in REFUSALS])
def refusal(
    request: pytest.FixtureRequest,
    store_writer: FolderStoreWriter,
    release: Callable[..., str],
    point: Callable[..., Pointer],
) -> tuple[str, str]:
    """A version that may not serve and that the pointer names, and a part of the sentence that says why not."""
    damage, sentence = request.param
    version = release(shift=0.5)
    version = damage(store_writer, version) or version
    point(current=version)
    return version, sentence


def test_a_version_that_must_not_serve_is_refused(
    refusal: tuple[str, str],
    promote: Callable[..., str],
    slot: Slot,
    watcher: Watcher,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is counted and logged once; the version before answers on to the last digit; the next good one is loaded."""
    version, reason = refusal
    before = slot.served.scorer
    for _ in range(3):
        watcher.look()
    assert slot.served.scorer is before
    assert reason in watcher.refused["refund"]
    assert watcher.counts == {REFUSED: 1}
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"refund: {version} is refused: {watcher.refused['refund']}"
    next_version = promote(shift=1.0)
    watcher.look()
    assert slot.served.scorer.version == next_version
    assert watcher.refused == {}


def test_only_the_packaged_contract_is_promised(
    store_writer: FolderStoreWriter,
    release: Callable[..., str],
    point: Callable[..., Pointer],
    slot: Slot,
    watcher: Watcher,
) -> None:
    """What a later version grants besides may be taken back: no deployment promised it."""
    narrow = release(shift=1.0)
    wide = with_field("item", max_length=1000)(store_writer, release(shift=0.5))
    for version in (wide, narrow):
        point(current=version)
        watcher.look()
        assert slot.served.scorer.version == version


def test_who_reads_a_release_back_need_promise_nothing(
    store_writer: FolderStoreWriter, release: Callable[..., str], refund: Scorer
) -> None:
    """A narrower contract is sound; it only may not take this one's place."""
    version = with_field("amount", max=1e9)(store_writer, release(shift=0.5))
    assert load_released(store_writer, "refund", str(version)).version == version
    with pytest.raises(BundleError, match="breaks the contract: its amount has a maximum of 1e"):
        load_released(store_writer, "refund", str(version), promised=refund.contract)


def test_a_bundle_that_is_too_large_is_refused(
    promote: Callable[..., str], slot: Slot, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more of it is read than may be."""
    version = promote(shift=0.5)
    monkeypatch.setattr("handler.releases.store.MAX_BYTES", 100_000)
    watcher.look()
    assert "model.ubj has more than " in watcher.refused["refund"]
    assert slot.served.scorer.version != version


def as_file(key: Ed25519PrivateKey, statement: bytes) -> bytes:
    """A signature as its file holds it."""
    return base64.b64encode(key.sign(statement)) + b"\n"


def test_what_a_trusted_key_signed_serves(
    store_writer: FolderStoreWriter, promote: Callable[..., str], slot: Slot, guarded: Watcher
) -> None:
    """As `training.delivery.publish` signs it."""
    version = promote(shift=0.5)
    folder = folder_of(store_writer, version)
    (folder / SIGNATURE).write_bytes(as_file(KEY, signed_statement((folder / MANIFEST).read_bytes())))
    guarded.look()
    assert slot.served.scorer.version == version


def test_what_nobody_signed_is_refused(
    promote: Callable[..., str], slot: Slot, guarded: Watcher, refund: Scorer
) -> None:
    """Where a key is asked for."""
    promote(shift=0.5)
    guarded.look()
    assert guarded.refused["refund"].endswith(f"is not signed by a trusted key ({SIGNATURE})")
    assert slot.served.scorer is refund


@pytest.mark.parametrize("kind", ["another key", "another manifest", "the bare manifest", "no base64", "nothing"])
def test_a_wrong_signature_is_refused(
    kind: str, store_writer: FolderStoreWriter, promote: Callable[..., str], slot: Slot, guarded: Watcher
) -> None:
    """The bundle is sound otherwise."""
    version = promote(shift=0.5)
    folder = folder_of(store_writer, version)
    manifest = (folder / MANIFEST).read_bytes()
    signatures = {
        "another key": as_file(OTHER_KEY, signed_statement(manifest)),
        "another manifest": as_file(KEY, signed_statement(manifest + b" ")),
        "the bare manifest": as_file(KEY, manifest),
        "no base64": b"signed",
        "nothing": b"",
    }
    (folder / SIGNATURE).write_bytes(signatures[kind])
    guarded.look()
    rule = f"is not signed by a trusted key ({SIGNATURE})"
    assert guarded.refused["refund"] == f"{store_writer}/refund/bundles/{version} {rule}"
    assert slot.served.scorer.version != version


def test_another_keys_signature_beside_it_harms_nobody(
    store_writer: FolderStoreWriter, promote: Callable[..., str], slot: Slot, guarded: Watcher
) -> None:
    """Each key's has a file of its own, so that one can take the other's place."""
    version = promote(shift=0.5)
    folder = folder_of(store_writer, version)
    statement = signed_statement((folder / MANIFEST).read_bytes())
    for key, name in ((KEY, SIGNATURE), (OTHER_KEY, signature_name(OTHER_TRUSTED))):
        (folder / name).write_bytes(as_file(key, statement))
    guarded.look()
    assert slot.served.scorer.version == version


@pytest.mark.parametrize("key", [KEY, OTHER_KEY], ids=["the first", "the second"])
def test_one_of_the_trusted_keys_is_enough(
    key: Ed25519PrivateKey, store_writer: FolderStoreWriter, promote: Callable[..., str], slot: Slot
) -> None:
    """Whichever, while one takes the other's place."""
    version = promote(shift=0.5)
    folder = folder_of(store_writer, version)
    name = signature_name(key.public_key().public_bytes_raw())
    (folder / name).write_bytes(as_file(key, signed_statement((folder / MANIFEST).read_bytes())))
    Watcher(store_writer, {"refund": slot}, seconds=3600, public_keys=(TRUSTED, OTHER_TRUSTED)).look()
    assert slot.served.scorer.version == version


def test_a_trusted_keys_signature_counts_in_its_own_file_alone(
    store_writer: FolderStoreWriter, promote: Callable[..., str], guarded: Watcher
) -> None:
    """In another key's it is never looked at."""
    version = promote(shift=0.5)
    folder = folder_of(store_writer, version)
    signature = as_file(KEY, signed_statement((folder / MANIFEST).read_bytes()))
    (folder / signature_name(OTHER_TRUSTED)).write_bytes(signature)
    guarded.look()
    assert "is not signed by a trusted key" in guarded.refused["refund"]


def test_a_refusal_names_every_file_that_was_looked_for(
    promote: Callable[..., str], store_writer: FolderStoreWriter, slot: Slot
) -> None:
    """Whoever forgot to sign learns with which keys it could have been done."""
    promote(shift=0.5)
    watcher = Watcher(store_writer, {"refund": slot}, seconds=3600, public_keys=(TRUSTED, OTHER_TRUSTED))
    watcher.look()
    assert watcher.refused["refund"].endswith(f"({SIGNATURE}, {signature_name(OTHER_TRUSTED)})")


def test_a_signature_does_not_vouch_for_changed_files(
    store_writer: FolderStoreWriter, promote: Callable[..., str], guarded: Watcher
) -> None:
    """It is the manifest's, which names each file's hash."""
    version = promote(shift=0.5)
    folder = folder_of(store_writer, version)
    (folder / SIGNATURE).write_bytes(as_file(KEY, signed_statement((folder / MANIFEST).read_bytes())))
    flip_a_bit(store_writer, version)
    guarded.look()
    assert "model.ubj is damaged" in guarded.refused["refund"]
