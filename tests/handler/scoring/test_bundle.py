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


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_truncated_file_is_noticed(copy: Path, name: str) -> None:
    """The error names the file."""
    (copy / name).write_bytes((copy / name).read_bytes()[:-1])
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
SMALL = [name for name, content in CONTENTS.items() if len(content) < 20_000]
LARGE = sorted(CONTENTS.keys() - set(SMALL))


def taken(name: str, changed: Iterable[bytes]) -> list[bytes]:
    """Those contents of a file with which the bundle would be served after all."""
    found = []
    for content in changed:
        try:
            parse_bundle({**CONTENTS, name: content}, "it")
        except BundleError:
            continue
        found.append(content)
    return found


def with_byte(content: bytes, place: int, value: int) -> bytes:
    """The content with another byte in a place."""
    return content[:place] + bytes([value]) + content[place + 1 :]


def test_what_is_shipped_is_served() -> None:
    """What the damages below are done to."""
    for name, content in CONTENTS.items():
        assert taken(name, [content]) == [content]


@pytest.mark.parametrize("name", CONTENTS)
def test_a_flipped_bit_anywhere_is_noticed(name: str) -> None:
    """As a disk or a cable does it: 200 places a file, each bit as often."""
    rng = random.Random(7)  # noqa: S311 - a sample that can be drawn again
    content = CONTENTS[name]
    places = [rng.randrange(len(content)) for _ in range(200)]
    flipped = (with_byte(content, place, content[place] ^ 1 << n % 8) for n, place in enumerate(places))
    assert taken(name, flipped) == []


@pytest.mark.parametrize("name", CONTENTS)
def test_another_byte_anywhere_is_noticed(name: str) -> None:
    """Whichever: 200 places a file."""
    rng = random.Random(10)  # noqa: S311 - as above
    content = CONTENTS[name]
    places = [rng.randrange(len(content)) for _ in range(200)]
    others = (with_byte(content, place, (content[place] + rng.randrange(1, 256)) % 256) for place in places)
    assert taken(name, others) == []


def test_every_byte_of_the_golden_cases_matters() -> None:
    """Of them all, one bit each."""
    content = CONTENTS["golden.json"]
    flipped = (with_byte(content, place, byte ^ 1 << place % 8) for place, byte in enumerate(content))
    assert taken("golden.json", flipped) == []


def test_a_byte_that_makes_a_number_infinite_is_noticed() -> None:
    """An e in the place of a digit: 0.8e256869."""
    content = CONTENTS[MANIFEST]
    digit = re.search(rb"0\.[1-9]([0-9])[1-9][0-9]{3}", content)
    assert digit
    assert taken(MANIFEST, [with_byte(content, digit.start(1), ord("e"))]) == []


@pytest.mark.parametrize("name", SMALL)
def test_every_shorter_file_is_noticed(name: str) -> None:
    """From none of its bytes to all but one."""
    content = CONTENTS[name]
    assert taken(name, (content[:length] for length in range(len(content)))) == []


@pytest.mark.parametrize("name", LARGE)
def test_a_shorter_large_file_is_noticed(name: str) -> None:
    """Without any byte, without the last, and 500 lengths between."""
    rng = random.Random(9)  # noqa: S311 - as above
    content = CONTENTS[name]
    lengths = [0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(500))]
    assert taken(name, (content[:length] for length in lengths)) == []
