"""The baseline: FastAPI and Mangum with the scorers' own request and answer models, and a constant answer.

It runs in the built artifact's folder, so it may import only what the function itself imports.
"""

import json
import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from mangum import Mangum
from pydantic import BaseModel

from handler.scoring.contract import Contract, answer_model, request_model

BUNDLES = Path(os.environ["BUNDLES"])
CONSTANTS: dict[str, dict[str, Any]] = {
    "probability": {"fraud_probability": 0.5, "is_flagged": False},
    "decision": {"prediction": 0, "confidence": 0.5},
}


def _add_route(app: FastAPI, name: str, contract: Contract) -> None:
    request: type[BaseModel] = request_model(name, contract)
    answer: type[BaseModel] = answer_model(name, contract)
    constant = answer(**CONSTANTS[contract.answer], model_version="echo")

    @app.post(contract.route, response_model_exclude_none=True)
    async def echo(_body: request) -> answer:  # type: ignore[valid-type]  # made at run time
        """A constant."""
        return constant


app = FastAPI(title="Echo")
for path in sorted(BUNDLES.glob("*/manifest.json")):
    manifest = json.loads(path.read_bytes())
    _add_route(app, manifest["scorer"], Contract.model_validate(manifest["contract"], strict=False))
handler = Mangum(app, lifespan="off")
