"""Loading and refusing bundles."""

import json
import random
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.variants import rewrite_manifest
from handler.scoring.bundle import (
    FILES,
    FORMAT,
    MANIFEST,
    BundleError,
    bundle_version,
    load_bundle,
    manifest_bytes,
    parse_bundle,
)
from tests.handler.deployment import BUNDLES

CONTENTS = {name: (BUNDLES / "refund" / name).read_bytes() for name in (MANIFEST, *FILES)}
HASHES, CONTRACT = (json.loads(CONTENTS[MANIFEST])[key] for key in ("files", "contract"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of a real bundle, to damage."""
    return Path(shutil.copytree(BUNDLES / "refund", tmp_path / "refund"))


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": FORMAT + 1}, f"has format {FORMAT + 1}; this code reads formats 3 and {FORMAT}"),
        ({"format": [4]}, r"has format \[4\]; this code reads formats 3 and"),
        ({"libraries": ["xgboost"]}, r"its libraries are \['xgboost'\]; they must map names to versions"),
        ({"libraries": {"xgboost": 3}}, r"its libraries are \{'xgboost': 3\}; they must map names to versions"),
        (
            {"files": {**HASHES, "../other.json": "0"}},
            r"names the files \.\./other.json, .*; a bundle has exactly",
        ),
        ({"files": {**HASHES, "/etc/passwd": "0"}}, r"names the files /etc/passwd, .*; a bundle has exactly "),
        ({"contract": CONTRACT | {"features": {}}}, "the model has 11 features; the contract declares 10"),
    ],
    ids=[
        "newer format",
        "no number",
        "list of libraries",
        "version as a number",
        "file elsewhere",
        "absolute path",
        "contract of another width",
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy: Path, changes: dict[str, Any], message: str) -> None:
    """The error has the value found and the right one."""
    rewrite_manifest(copy, **changes)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


def test_a_bundle_of_the_format_before_loads(copy: Path) -> None:
    """It cannot say which XGBoost trained it; a bundle of the current format must."""
    manifest = json.loads((copy / MANIFEST).read_bytes())
    assert load_bundle(copy).trained_with == manifest["libraries"]["xgboost-cpu"]
    del manifest["libraries"]
    for number, is_read in ((3, True), (FORMAT, False)):
        manifest["format"] = number
        manifest["version"] = bundle_version(manifest)
        (copy / MANIFEST).write_bytes(manifest_bytes(manifest))
        if is_read:
            assert load_bundle(copy).trained_with is None
        else:
            with pytest.raises(BundleError, match=f"its keys differ from those of format {FORMAT}"):
                load_bundle(copy)


def unnoticed(name: str, contents: Iterable[bytes]) -> list[bytes]:
    """The contents of a file with which the bundle loads, or fails with an error that does not name the file."""
    contents_unnoticed = []
    for content in contents:
        try:
            parse_bundle({**CONTENTS, name: content}, "it")
        except BundleError as error:
            if name in str(error):
                continue
        contents_unnoticed.append(content)
    return contents_unnoticed


def with_byte(content: bytes, place: int, value: int) -> bytes:
    """The content with another byte at a place."""
    return content[:place] + bytes([value]) + content[place + 1 :]


def places(name: str) -> list[int]:
    """Places in a file, the same at each run: many in the manifest, fewer in the files whose hashes it holds."""
    rng = random.Random(7)  # noqa: S311 - a reproducible sample
    return [rng.randrange(len(CONTENTS[name])) for _ in range(200 if name == MANIFEST else 50)]


def test_the_undamaged_files_are_unnoticed() -> None:
    """The contents that the tests below damage."""
    for name, content in CONTENTS.items():
        assert unnoticed(name, [content]) == [content]


@pytest.mark.parametrize("name", CONTENTS)
def test_a_changed_byte_anywhere_is_noticed(name: str) -> None:
    """A flipped bit, as by a disk or a cable, each bit of a byte equally often; or any other value."""
    content = CONTENTS[name]
    for n, place in enumerate(places(name)):
        for value in (content[place] ^ 1 << n % 8, (content[place] + 1 + n % 255) % 256):
            assert unnoticed(name, [with_byte(content, place, value)]) == []


def test_a_byte_that_makes_a_number_infinite_is_noticed() -> None:
    """An e in place of a digit: 0.8e256869."""
    content = CONTENTS[MANIFEST]
    digit = re.search(rb"0\.[1-9]([0-9])[1-9][0-9]{3}", content)
    assert digit
    assert unnoticed(MANIFEST, [with_byte(content, digit.start(1), ord("e"))]) == []


@pytest.mark.parametrize("name", CONTENTS)
def test_a_truncated_file_is_noticed(name: str) -> None:
    """Lengths tried: no byte, all but the last, and those between (all for the manifest, a sample for other files)."""
    content = CONTENTS[name]
    lengths = range(len(content)) if name == MANIFEST else [0, len(content) - 1, *places(name)]
    assert unnoticed(name, (content[:length] for length in lengths)) == []
