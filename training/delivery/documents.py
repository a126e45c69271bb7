"""The machine-readable documents of a release: the OpenAPI document of its scorer, and its SBOM."""

from collections.abc import Iterable

from handler.releases.served import Slot
from handler.scoring.bundle import to_json
from handler.scoring.scorer import Scorer
from handler.web.routes import create_app
from training.delivery.bill_of_materials import bill_of_materials
from training.delivery.runtime_packages import RuntimePackage

OPENAPI, SBOM = "openapi.json", "cdx.json"


def release_documents(scorer: Scorer, packages: Iterable[RuntimePackage]) -> dict[str, bytes]:
    """The documents by OPENAPI and SBOM, the ends of their file names; the same content gives the same bytes."""
    return {
        OPENAPI: openapi_document(scorer),
        SBOM: bill_of_materials(scorer.bundle, packages),
    }


def openapi_document(scorer: Scorer) -> bytes:
    """What /openapi.json answers if only this scorer is served, indented; limits come from the environment."""
    return to_json(create_app({scorer.bundle.scorer: Slot(scorer)}).openapi(), indent=1)
