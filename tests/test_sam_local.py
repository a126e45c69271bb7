"""`sam local invoke` and `sam local start-api` on the built artifact: the function in Lambda's container."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docker_engine import has_docker

TESTS = Path(__file__).parent
SAM = TESTS.parent / ".venv-sam" / "bin" / "sam"
EVENTS = ("transaction", "refund", "refund_explained", "negative_amount", "health")
WAYS = ("invoke", "start-api")


@pytest.fixture(scope="module")
def session(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What both commands answer to each event, by the command and the event's name.

    SAM_LOCAL_WRAPPER may name a command that provides an engine and runs its arguments with SAM and SAM_LOCAL_ARGS set.
    """
    wrapper = shlex.split(os.environ.get("SAM_LOCAL_WRAPPER", ""))
    if not wrapper and not has_docker():
        pytest.skip("no Docker engine answers, and SAM_LOCAL_WRAPPER names no command that brings one")
    template: Path = request.getfixturevalue("built_template")
    events = [TESTS / "events" / f"{name}.json" for name in EVENTS]
    done = subprocess.run(
        [*wrapper, sys.executable, TESTS / "sam_local_session.py", template, *events],
        cwd=template.parent,
        env={"SAM": str(SAM), "SAM_LOCAL_ARGS": "", "SAM_CLI_TELEMETRY": "0", **os.environ},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def body_of(answer: dict[str, Any], status: int) -> dict[str, Any]:
    """The parsed body of an answer, which has this status."""
    assert answer["statusCode"] == status, answer
    return json.loads(answer["body"])


@pytest.mark.parametrize("way", WAYS)
def test_the_container_answers(way: str, session: dict[str, Any]) -> None:
    """It flags a payment, decides on a refund, refuses a negative amount with its place, and names its scorers."""
    payment, refund = (body_of(session[way][name], 200) for name in ("transaction", "refund"))
    assert 0 < payment["fraud_probability"] < 1
    assert payment["is_flagged"] is True
    assert refund["prediction"] == 0
    assert 0.5 < refund["confidence"] < 1
    refusal = body_of(session[way]["negative_amount"], 422)
    assert [problem["loc"] for problem in refusal["detail"]] == [["body", "amount_usd"]]
    assert body_of(session[way]["health"], 200)["scorers"].keys() == {"transaction", "refund"}


def test_a_query_reaches_the_function(session: dict[str, Any]) -> None:
    """With explain=true in the address an unflagged request has reasons too."""
    assert body_of(session["start-api"]["refund_explained"], 200)["reasons"]


def test_both_ways_give_the_same_answers(session: dict[str, Any]) -> None:
    """Over HTTP the body is what the function answered to the event, byte for byte."""
    bodies = [{name: session[way][name]["body"] for name in EVENTS} for way in WAYS]
    assert bodies[0] == bodies[1]


def test_start_api_ends_on_sigterm(session: dict[str, Any]) -> None:
    """The container is taken down with it."""
    assert session["exit"] == 0
