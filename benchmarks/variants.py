"""Variants of a real bundle: the same model with another calibration, so that every answer tells them apart."""

import json
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

from handler.scoring.bundle import FILES, MANIFEST, bundle_version, manifest_bytes, to_json
from handler.scoring.calibration import log_odds_to_probability
from training.package import build_bundle


def contents_of(folder: Path) -> dict[str, bytes]:
    """A bundle's files."""
    return {name: (folder / name).read_bytes() for name in (*FILES, MANIFEST)}


def write_variant(
    source: Path,
    target: Path,
    *,
    shift: float = 0.0,
    slope: float = 1.0,
    scale: Sequence[float] | None = None,
    **changes: Any,  # noqa: ANN401 - keys of the manifest
) -> str:
    """Write `source`, with its log-odds stretched and shifted, as a sound bundle in a new folder; returns its version.

    A `slope` of -1 makes a model that ranks the wrong way round. `scale` replaces the scale of the scores, if the
    decision has one. `changes` replace keys of the manifest.
    """
    contents = contents_of(source)
    manifest = {**json.loads(contents.pop(MANIFEST)), **changes}
    manifest["calibration"] = {
        "slope": slope * manifest["calibration"]["slope"],
        "intercept": slope * manifest["calibration"]["intercept"] + shift,
    }
    golden = json.loads(contents["golden.json"])
    for case in golden:
        case["probability"] = _moved(case["probability"], slope, shift)
    if scale is not None:
        baseline = json.loads(contents["baseline.json"])
        baseline["score"]["scale"] = list(scale)
        contents["baseline.json"] = to_json(baseline)
    described = {key: value for key, value in manifest.items() if key not in {"format", "files", "version"}}
    target.mkdir(parents=True)
    build_bundle(target, contents | {"golden.json": to_json(golden)}, described)
    return str(json.loads((target / MANIFEST).read_bytes())["version"])


def rewrite_manifest(folder: Path, **changes: Any) -> str:  # noqa: ANN401 - keys of the manifest
    """Change keys of a bundle's manifest, and its version to match; returns that version."""
    manifest = {**json.loads((folder / MANIFEST).read_bytes()), **changes}
    manifest["version"] = bundle_version(manifest)
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))
    return str(manifest["version"])


def _moved(probability: float, slope: float, shift: float) -> float:
    return log_odds_to_probability(slope * (log(probability) - log(1 - probability)) + shift)
