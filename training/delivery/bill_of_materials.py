"""The SBOM of a release in CycloneDX (ECMA-424): the serving packages, the model, and its training libraries.

Each package of the artifact is a component with its hashes. The bundle is a component of type machine-learning-model
that contains its files. A library that was used only in training is a component of scope `excluded`, the standard's
term for what is absent at run time; the model depends on it. The standard's model card is left out, because the
CycloneDX library does not support it yet and the release has a card of its own.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from handler.scoring.bundle import MANIFEST, Bundle, manifest_bytes, to_json
from training.delivery.runtime_packages import RuntimePackage

NAME = "fraud-scorer"
_SERIALS = UUID("5f0f3c6e-2f0b-4c55-9f86-0c4f4f5c1e27")


def bill_of_materials(bundle: Bundle, packages: Iterable[RuntimePackage]) -> bytes:
    """The SBOM of a bundle, the packages that serve it, and its training libraries, as JSON of CycloneDX 1.6.

    The same content gives the same bytes: there is no timestamp (the release note has one), and the serial number is a
    hash of the rest.
    """
    served = {
        (package.name, package.version): _python(package.name, package.version, ComponentScope.REQUIRED, package.sha256)
        for package in packages
    }
    trained = {pair: served.get(pair) or _python(*pair, ComponentScope.EXCLUDED) for pair in bundle.libraries.items()}
    model = _model(bundle)
    function = Component(
        type=ComponentType.APPLICATION,
        name=NAME,
        version=bundle.version,
        description=f"the function that serves the scorer {bundle.scorer}",
        bom_ref="function",
    )
    bom = Bom(components=[model, *(served | trained).values()])
    bom.metadata.component = function
    bom.register_dependency(function, [model, *served.values()])
    bom.register_dependency(model, trained.values())
    content: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["metadata"]["timestamp"], content["serialNumber"]
    content["serialNumber"] = uuid5(_SERIALS, to_json(content).decode()).urn
    return to_json(content, indent=1)


def _model(bundle: Bundle) -> Component:
    """The bundle, identified by the hash of its manifest, which contains the hashes of its other files."""
    hashes = {MANIFEST: sha256(manifest_bytes(bundle.manifest)).hexdigest(), **bundle.manifest["files"]}
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=f"{NAME}-{bundle.scorer}",
        version=bundle.version,
        description=f"the bundle of the scorer {bundle.scorer}; the hash is that of its {MANIFEST}",
        bom_ref="model",
        hashes=[_sha256(hashes[MANIFEST])],
        components=[
            Component(type=ComponentType.FILE, name=name, bom_ref=f"model/{name}", hashes=[_sha256(digest)])
            for name, digest in hashes.items()
        ],
    )


def _python(name: str, version: str, scope: ComponentScope, digests: Iterable[str] = ()) -> Component:
    """A package of PyPI; `digests` are the hashes of its files."""
    purl = PackageURL(type="pypi", name=name, version=version)
    hashes = map(_sha256, digests)
    return Component(name=name, version=version, purl=purl, bom_ref=purl.to_string(), scope=scope, hashes=hashes)


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)
