"""Loading and refusing bundles."""

import json
import random
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from handler.scoring.bundle import (
    FILES,
    FORMAT,
    MANIFEST,
    BundleError,
    content_version,
    load_bundle,
    manifest_bytes,
    parse_bundle,
)

BUNDLE = Path(__file__).parents[3] / "build" / "bundles" / "refund"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of a real bundle, to damage."""
    return Path(shutil.copytree(BUNDLE, tmp_path / "refund"))


def rewritten(folder: Path, **changes: object) -> None:
    """Change a manifest's keys, and its version to match."""
    manifest = {**json.loads((folder / "manifest.json").read_text()), **changes}
    manifest["version"] = content_version(manifest)
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest))


def test_a_whole_bundle_loads(copy: Path) -> None:
    """The version is the one in the manifest."""
    bundle = load_bundle(copy)
    assert (bundle.scorer, len(bundle.version)) == ("refund", 12)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    """Nothing is assumed in its place."""
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read: No such file"):
        load_bundle(copy)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_one_changed_byte_is_noticed(copy: Path, name: str, share: float) -> None:
    """The error names the file."""
    content = bytearray((copy / name).read_bytes())
    content[round(share * (len(content) - 1))] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        load_bundle(copy)


def test_a_newer_format_is_refused(copy: Path) -> None:
    """The error says both formats."""
    rewritten(copy, format=FORMAT + 1)
    with pytest.raises(BundleError, match=f"has format {FORMAT + 1}; this code reads format {FORMAT}"):
        load_bundle(copy)


def test_files_outside_the_bundle_are_refused(copy: Path) -> None:
    """A manifest can name the bundle's own files and no others."""
    files = json.loads((copy / "manifest.json").read_text())["files"]
    rewritten(copy, files={**files, "../elsewhere.json": "0"})
    with pytest.raises(BundleError, match=r"names the files \.\./elsewhere.json, .*; a bundle has exactly "):
        load_bundle(copy)


def test_a_contract_that_does_not_fit_the_model_is_refused(copy: Path) -> None:
    """The model's width must be the contract's."""
    contract = json.loads((copy / "manifest.json").read_text())["contract"]
    rewritten(copy, contract={**contract, "features": {}})
    with pytest.raises(BundleError, match="the model has 6 features; the contract declares 5"):
        load_bundle(copy)


CONTENTS = {name: (BUNDLE / name).read_bytes() for name in (MANIFEST, *FILES)}


def accepted(name: str, contents: Iterable[bytes]) -> list[bytes]:
    """Those contents of a file with which the bundle loads."""
    loaded = []
    for content in contents:
        try:
            parse_bundle({**CONTENTS, name: content}, "it")
        except BundleError:
            continue
        loaded.append(content)
    return loaded


def with_byte(content: bytes, place: int, value: int) -> bytes:
    """The content with another byte in a place."""
    return content[:place] + bytes([value]) + content[place + 1 :]


def places(name: str) -> list[int]:
    """Places in a file, the same at each run: many in the manifest, fewer in the files whose hashes it holds."""
    rng = random.Random(7)  # noqa: S311 - a reproducible sample
    return [rng.randrange(len(CONTENTS[name])) for _ in range(200 if name == MANIFEST else 50)]


def test_the_undamaged_files_are_accepted() -> None:
    """The contents that the tests below damage."""
    for name, content in CONTENTS.items():
        assert accepted(name, [content]) == [content]


@pytest.mark.parametrize("name", CONTENTS)
def test_a_flipped_bit_anywhere_is_noticed(name: str) -> None:
    """As a disk or a cable does it, each bit of a byte equally often."""
    content = CONTENTS[name]
    flipped = (with_byte(content, place, content[place] ^ 1 << n % 8) for n, place in enumerate(places(name)))
    assert accepted(name, flipped) == []


@pytest.mark.parametrize("name", CONTENTS)
def test_another_byte_anywhere_is_noticed(name: str) -> None:
    """Whatever its value."""
    content = CONTENTS[name]
    others = (with_byte(content, place, (content[place] + 1 + n % 255) % 256) for n, place in enumerate(places(name)))
    assert accepted(name, others) == []


def test_a_byte_that_makes_a_number_infinite_is_noticed() -> None:
    """An e in the place of a digit: 0.8e256869."""
    content = CONTENTS[MANIFEST]
    digit = re.search(rb"0\.[1-9]([0-9])[1-9][0-9]{3}", content)
    assert digit
    assert accepted(MANIFEST, [with_byte(content, digit.start(1), ord("e"))]) == []


@pytest.mark.parametrize("name", CONTENTS)
def test_a_truncated_content_is_noticed(name: str) -> None:
    """Without its last byte, without any, and the lengths between: of the manifest all, of the others a sample."""
    content = CONTENTS[name]
    lengths = range(len(content)) if name == MANIFEST else [0, len(content) - 1, *places(name)]
    assert accepted(name, (content[:length] for length in lengths)) == []
