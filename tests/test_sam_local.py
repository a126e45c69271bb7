"""`sam local invoke` and `sam local start-api` on the built artifact: the function in Lambda's container."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
SAM = TESTS.parent / ".venv-sam" / "bin" / "sam"
EVENTS = ("transaction", "refund", "refund_explained", "negative_amount", "health")
WAYS = ("invoke", "start-api")


def has_docker() -> bool:
    """Whether a Docker engine answers."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.fixture(scope="module")
def session(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What both commands answer to each event, by the command and the event's name.

    SAM_LOCAL_WRAPPER may name a command that brings an engine: it runs its arguments with SAM and SAM_LOCAL_ARGS set.
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
def test_a_transaction_is_scored(way: str, session: dict[str, Any]) -> None:
    """The container flags the payment and gives its probability."""
    body = body_of(session[way]["transaction"], 200)
    assert 0 < body["fraud_probability"] < 1
    assert body["is_flagged"] is True


@pytest.mark.parametrize("way", WAYS)
def test_a_refund_is_decided(way: str, session: dict[str, Any]) -> None:
    """The container gives the refund request a decision and the confidence in it."""
    body = body_of(session[way]["refund"], 200)
    assert body["prediction"] == 0
    assert 0.5 < body["confidence"] < 1


@pytest.mark.parametrize("way", WAYS)
def test_a_negative_amount_is_refused(way: str, session: dict[str, Any]) -> None:
    """The container answers a value below the contract's minimum with 422 and its place."""
    body = body_of(session[way]["negative_amount"], 422)
    assert [problem["loc"] for problem in body["detail"]] == [["body", "amount_usd"]]


@pytest.mark.parametrize("way", WAYS)
def test_health_names_both_scorers(way: str, session: dict[str, Any]) -> None:
    """A GET without a body reaches the function."""
    assert body_of(session[way]["health"], 200)["scorers"].keys() == {"transaction", "refund"}


def test_a_query_reaches_the_function(session: dict[str, Any]) -> None:
    """With explain=true in the address an unflagged request has reasons too."""
    assert body_of(session["start-api"]["refund_explained"], 200)["reasons"]


@pytest.mark.parametrize("name", EVENTS)
def test_both_ways_answer_alike(name: str, session: dict[str, Any]) -> None:
    """Over HTTP the body is what the function answered to the event, byte for byte."""
    assert session["start-api"][name]["body"] == session["invoke"][name]["body"]


def test_start_api_ends_on_sigterm(session: dict[str, Any]) -> None:
    """The container is taken down with it."""
    assert session["exit"] == 0
