"""A bundle: the data-only folder that holds one trained scorer, written by training and read by the function."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from handler.scoring.booster import Booster, BoosterError
from handler.scoring.contract import Contract
from handler.scoring.features import Features, build_features, feature_types

FORMAT = 4
# The readable formats, with the keys that each lacks: before format 4, a bundle did not name the libraries it was
# trained with.
READABLE: dict[int, set[str]] = {3: {"libraries"}, FORMAT: set()}
MANIFEST = "manifest.json"
FILES = ("baseline.json", "golden.json", "model.ubj", "reference.json", "vocabulary.json")
# For all files together. The shipped bundles have 0.6 MB; a thousand trees of depth 8 about 40.
MAX_BYTES = 64_000_000
_KEYS = {
    "format",
    "scorer",
    "version",
    "contract",
    "calibration",
    "decision",
    "metrics",
    "intervals",
    "thresholds",
    "importance",
    "windows",
    "libraries",
    "files",
}


class BundleError(ValueError):
    """Raised when a bundle is incomplete or damaged, or cannot be served by this code."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle whose file hashes were checked."""

    scorer: str
    version: str
    manifest: Mapping[str, Any]
    contract: Contract
    features: Features
    booster: Booster
    reference: Mapping[str, Any]
    """The distribution of each feature in the training rows, for the sentences of reasons."""
    baseline: Mapping[str, Any]
    """The reference distributions, for warnings and monitoring; written by `training.baseline`."""
    golden: list[dict[str, Any]]

    @property
    def libraries(self) -> Mapping[str, str]:
        """The versions of the libraries that trained the model, by name; empty if the bundle does not name them."""
        versions: Mapping[str, str] = self.manifest.get("libraries", {})
        return versions

    @property
    def trained_with(self) -> str | None:
        """The version of XGBoost that trained the model, or None."""
        return self.libraries.get("xgboost-cpu") or self.libraries.get("xgboost")


def to_json(value: object, *, indent: int | None = None) -> bytes:
    """The canonical JSON of a value in a bundle; keys keep their order, which is also the features' order."""
    separators = None if indent else (",", ":")
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """The content of the file of a bundle's manifest, indented for readers."""
    return to_json(manifest, indent=1)


def bundle_version(manifest: Mapping[str, Any]) -> str:
    """The version of a bundle by its manifest: 12 hexadecimal digits of the content's hash, equal for equal content."""
    content = {key: value for key, value in manifest.items() if key != "version"}
    return hashlib.sha256(to_json(content)).hexdigest()[:12]


def load_bundle(folder: Path) -> Bundle:
    """The bundle in a folder, with every file's hash checked.

    Raises BundleError, which names the file, if one is missing, damaged or of another format.
    """
    return parse_bundle({name: _read(folder / name) for name in (MANIFEST, *FILES)}, str(folder))


def parse_bundle(contents: Mapping[str, bytes], where: str) -> Bundle:
    """The bundle with these contents by file name, with every hash checked; error messages name it as `where`.

    Raises BundleError as `load_bundle` does.
    """
    manifest = _parse_manifest(contents[MANIFEST], f"{where}/{MANIFEST}")
    for name in FILES:
        if (digest := hashlib.sha256(contents[name]).hexdigest()) != manifest["files"][name]:
            raise BundleError(
                f"{where}/{name} is damaged: its sha256 is {digest}; the manifest says {manifest['files'][name]}"
            )
    try:
        contract = Contract.model_validate(manifest["contract"], strict=False)
        features = build_features(contract, json.loads(contents["vocabulary.json"]))
        booster = Booster(contents["model.ubj"], feature_types(contract))
    except (ValidationError, BoosterError, KeyError) as error:
        raise BundleError(f"{where} cannot be served: {error}") from error
    return Bundle(
        scorer=manifest["scorer"],
        version=manifest["version"],
        manifest=manifest,
        contract=contract,
        features=features,
        booster=booster,
        reference=json.loads(contents["reference.json"]),
        baseline=json.loads(contents["baseline.json"]),
        golden=json.loads(contents["golden.json"]),
    )


def _parse_manifest(content: bytes, where: str) -> dict[str, Any]:
    """The manifest, whose bytes must be the canonical ones of its content and version."""
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is damaged: it is not JSON ({error})") from error
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise BundleError(f"{where} is not the manifest of a bundle: it has no format")
    if not isinstance(number := manifest["format"], int) or number not in READABLE:
        readable = " and ".join(map(str, READABLE))
        raise BundleError(f"{where} has format {number!r}; this code reads formats {readable}")
    if manifest.keys() != _KEYS - READABLE[number] or not isinstance(manifest["files"], dict):
        raise BundleError(f"{where} is damaged: its keys differ from those of format {number}")
    libraries = manifest.get("libraries", {})
    if not isinstance(libraries, dict) or not all(isinstance(version, str) for version in libraries.values()):
        raise BundleError(f"{where} is damaged: its libraries are {libraries!r:.100}; they must map names to versions")
    if set(manifest["files"]) != set(FILES):
        names = ", ".join(sorted(manifest["files"]))
        raise BundleError(f"{where} names the files {names}; a bundle has exactly {', '.join(FILES)}")
    try:
        version, canonical = bundle_version(manifest), manifest_bytes(manifest)
    except ValueError as error:
        raise BundleError(f"{where} is damaged: it has a value that JSON does not allow ({error})") from error
    if version != manifest["version"] or canonical != content:
        raise BundleError(
            f"{where} is damaged: it is not what was written as version {manifest['version']!r}; its content has "
            f"version {version}"
        )
    return manifest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
