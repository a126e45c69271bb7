"""The SBOM is valid by the standard's schema, reproducible, and true to what it describes."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from handler.scoring.bundle import FILES, MANIFEST, Bundle, load_bundle, manifest_bytes
from training.delivery.bill_of_materials import bill_of_materials
from training.delivery.runtime_packages import RuntimePackage, read_runtime_packages

PROJECT = Path(__file__).parents[3]
SERVED = (RuntimePackage("xgboost-cpu", "3.0", ("1" * 64, "2" * 64)), RuntimePackage("fastapi", "0.9", ("3" * 64,)))
TRAINED = {"xgboost-cpu": "3.0", "scikit-learn": "1.9"}
AGAIN = """
import sys
from pathlib import Path
from handler.scoring.bundle import load_bundle
from training.delivery.bill_of_materials import bill_of_materials
from training.delivery.runtime_packages import read_runtime_packages
sys.stdout.buffer.write(bill_of_materials(load_bundle(Path(sys.argv[1])), read_runtime_packages()))
"""


@pytest.fixture(scope="module")
def bundle(mini_bundle: Path) -> Bundle:
    """The mini scorer's bundle, trained with two libraries."""
    return trained_with(load_bundle(mini_bundle), TRAINED)


def trained_with(bundle: Bundle, libraries: dict[str, str]) -> Bundle:
    """The bundle, with a manifest that says it was trained with these libraries."""
    return replace(bundle, manifest={**bundle.manifest, "libraries": libraries})


def bill_of(bundle: Bundle) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The SBOM of a bundle with two packages and two libraries, one of which is also a package."""
    return json.loads(bill_of_materials(bundle, SERVED))


def hashes_of(component: dict[str, Any]) -> list[str]:
    """The SHA-256 hashes of a component."""
    assert {entry["alg"] for entry in component["hashes"]} == {"SHA-256"}
    return [entry["content"] for entry in component["hashes"]]


def test_it_is_valid(bundle: Bundle) -> None:
    """The SBOM is valid by CycloneDX's own strict schema, which also rejects an unknown key."""
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    content = bill_of_materials(bundle, read_runtime_packages()).decode()
    assert validator.validate_str(content) is None
    assert validator.validate_str(content.replace('"purl"', '"pearl"')) is not None


def test_it_names_what_serves(bundle: Bundle) -> None:
    """Each package of the artifact is required, with version, address and hashes, and the function depends on it."""
    bill = bill_of(bundle)
    required = {entry["name"]: entry for entry in bill["components"] if entry.get("scope") == "required"}
    assert required.keys() == {"xgboost-cpu", "fastapi"}
    assert required["xgboost-cpu"]["purl"] == "pkg:pypi/xgboost-cpu@3.0"
    assert (required["xgboost-cpu"]["version"], hashes_of(required["xgboost-cpu"])) == ("3.0", ["1" * 64, "2" * 64])
    depends = {entry["ref"]: set(entry.get("dependsOn", [])) for entry in bill["dependencies"]}
    function = bill["metadata"]["component"]
    assert (function["type"], function["version"]) == ("application", bundle.version)
    assert depends[function["bom-ref"]] == {"model", "pkg:pypi/xgboost-cpu@3.0", "pkg:pypi/fastapi@0.9"}


def test_it_names_the_model_with_the_hashes_of_its_files(bundle: Bundle, mini_bundle: Path) -> None:
    """The hashes are those of the files on disk, and the model's hash is that of its manifest."""
    (model,) = (entry for entry in bill_of(bundle)["components"] if entry["type"] == "machine-learning-model")
    assert (model["name"], model["version"]) == ("fraud-scorer-mini", bundle.version)
    digests = {name: hashlib.sha256((mini_bundle / name).read_bytes()).hexdigest() for name in FILES}
    digests[MANIFEST] = hashlib.sha256(manifest_bytes(bundle.manifest)).hexdigest()
    assert {entry["name"]: hashes_of(entry) for entry in model["components"]} == {
        name: [digest] for name, digest in digests.items()
    }
    assert hashes_of(model) == [digests[MANIFEST]]


def test_it_names_what_the_model_was_trained_with(bundle: Bundle) -> None:
    """A training library is excluded unless the artifact has that version; the model depends on all of them."""
    bill = bill_of(bundle)
    excluded = {entry["purl"]: entry for entry in bill["components"] if entry.get("scope") == "excluded"}
    assert excluded.keys() == {"pkg:pypi/scikit-learn@1.9"}
    depends = {entry["ref"]: set(entry.get("dependsOn", [])) for entry in bill["dependencies"]}
    assert depends["model"] == {"pkg:pypi/scikit-learn@1.9", "pkg:pypi/xgboost-cpu@3.0"}
    older = json.loads(bill_of_materials(trained_with(bundle, {"xgboost-cpu": "2.0"}), SERVED))
    purls = {entry["purl"]: entry["scope"] for entry in older["components"] if entry["name"] == "xgboost-cpu"}
    assert purls == {"pkg:pypi/xgboost-cpu@3.0": "required", "pkg:pypi/xgboost-cpu@2.0": "excluded"}


def test_it_is_the_same_in_every_process(mini_bundle: Path) -> None:
    """The bytes depend neither on the hash seed nor on the time, and no timestamp is included."""
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(mini_bundle)],
        cwd=PROJECT,
        env={"PATH": "", "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == bill_of_materials(load_bundle(mini_bundle), read_runtime_packages())
    assert "timestamp" not in json.loads(done.stdout)["metadata"]


def test_its_serial_number_is_of_the_content(bundle: Bundle, variant: Callable[..., Path]) -> None:
    """Another version, package or library gives another serial number."""
    changed = (
        bill_of_materials(bundle, SERVED),
        bill_of_materials(trained_with(load_bundle(variant(shift=0.01)), TRAINED), SERVED),
        bill_of_materials(bundle, SERVED[:1]),
        bill_of_materials(trained_with(bundle, {}), SERVED),
    )
    assert len({json.loads(content)["serialNumber"] for content in changed}) == len(changed)
