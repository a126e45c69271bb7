"""The usual approach: FastAPI and Mangum around the pickled pipeline, one pandas row per request.

Models, calibration and answers are the same as the function's, without its reasons and warnings.
"""

import json
import os
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from fastapi import FastAPI
from mangum import Mangum
from pydantic import BaseModel

from handler.scoring.calibration import log_odds_to_probability
from handler.scoring.contract import Contract, answer_model, request_model

BUNDLES = Path(os.environ["BUNDLES"])


def _add_route(app: FastAPI, manifest: dict[str, Any], pipeline: Any) -> None:  # noqa: ANN401 - imblearn has no types
    contract = Contract.model_validate(manifest["contract"], strict=False)
    request: type[BaseModel] = request_model(manifest["scorer"], contract)
    answer: type[BaseModel] = answer_model(manifest["scorer"], contract)
    calibration, threshold = manifest["calibration"], manifest["decision"]["threshold"]

    @app.post(contract.route, response_model_exclude_none=True)
    async def score(body: request) -> answer:  # type: ignore[valid-type]  # made at run time
        """The pipeline's answer."""
        row = pd.DataFrame([body.model_dump()]).reindex(columns=[*contract.inputs])
        margin = float(pipeline.predict(row, output_margin=True)[0])
        probability = log_odds_to_probability(calibration["slope"] * margin + calibration["intercept"])
        is_flagged = probability >= threshold
        if contract.answer == "probability":
            verdict = {"fraud_probability": probability, "is_flagged": is_flagged}
        else:
            verdict = {"prediction": int(is_flagged), "confidence": probability if is_flagged else 1 - probability}
        return answer(**verdict, model_version=manifest["version"])


app = FastAPI(title="Joblib")
for path in sorted(BUNDLES.glob("*/manifest.json")):
    manifest = json.loads(path.read_bytes())
    _add_route(app, manifest, joblib.load(BUNDLES.parent / manifest["scorer"] / "pipeline.joblib"))
handler = Mangum(app, lifespan="off")
