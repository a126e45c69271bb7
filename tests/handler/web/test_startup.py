"""The fast start has no side effects."""

import gc
import json
import subprocess
import sys
from pathlib import Path

from fastapi.openapi.models import OpenAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from handler.app import app

ROOT = Path(__file__).parents[3]


def test_models_are_built_immediately_after_the_start() -> None:
    """Pydantic's setting and the garbage collector are as before."""

    class Model(BaseModel):
        value: int

    assert Model.__pydantic_complete__
    assert "defer_build" not in BaseModel.model_config
    assert gc.isenabled()


def test_fastapis_own_models_still_work() -> None:
    """They are built at their first use."""
    with TestClient(app) as client:
        document = client.get("/openapi.json").json()
    assert OpenAPI.model_validate(document).info.title == "Fraud scorer"


def test_a_start_imports_what_requests_need_and_no_more() -> None:
    """Pydantic v1 and the CORS middleware each cost milliseconds, and without HISTORY nothing stores a past.

    No request waits for an import.
    """
    script = """
import json, sys
from handler.app import handler
at_start = set(sys.modules)
for name in ("transaction", "refund_explained", "negative_amount", "health"):
    handler(json.load(open(f"tests/events/{name}.json")), None)
print(json.dumps([sorted(at_start), sorted(set(sys.modules) - at_start)]))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    at_start, by_requests = json.loads(run.stdout)
    assert not {"pydantic.v1", "starlette.middleware.cors", "boto3", "multipart", "handler.history.sqlite"} & set(
        at_start
    )
    assert by_requests == []
