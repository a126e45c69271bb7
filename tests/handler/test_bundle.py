"""Loading and refusing bundles."""

import json
import shutil
from pathlib import Path

import pytest

from handler.bundle import FILES, FORMAT, BundleError, content_version, load_bundle, manifest_bytes

BUNDLE = Path(__file__).parents[2] / "build" / "bundles" / "refund"


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
    with pytest.raises(BundleError, match=r"names the files \.\./elsewhere.json, .*and no others"):
        load_bundle(copy)


def test_a_contract_that_does_not_fit_the_model_is_refused(copy: Path) -> None:
    """The model's width must be the contract's."""
    contract = json.loads((copy / "manifest.json").read_text())["contract"]
    rewritten(copy, contract={**contract, "features": {}})
    with pytest.raises(BundleError, match="the model has 6 features; the contract declares 5"):
        load_bundle(copy)
