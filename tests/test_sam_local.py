"""`sam local invoke` on the built artifact: the function in Lambda's container, called as the README calls it."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

EVENTS = Path(__file__).parent / "events"
INVOKED = ("transaction", "refund", "negative_amount")
SAM = Path(__file__).parent.parent / ".venv-sam" / "bin" / "sam"
# One line an event. SAM_LOCAL_ARGS holds several words.
INVOKE_EACH = """
template=$1; shift
for event; do
  "$SAM" local invoke FraudFunction --template "$template" --event "$event" $SAM_LOCAL_ARGS || exit
  echo
done
"""


def has_docker() -> bool:
    """Whether a Docker engine answers."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `sam local invoke` prints for each event, by the event's name.

    SAM_LOCAL_WRAPPER may name a command that brings an engine: it runs its arguments with SAM and SAM_LOCAL_ARGS set.
    """
    wrapper = shlex.split(os.environ.get("SAM_LOCAL_WRAPPER", ""))
    if not wrapper and not has_docker():
        pytest.skip("no Docker engine answers, and SAM_LOCAL_WRAPPER names no command that brings one")
    template: Path = request.getfixturevalue("built_template")
    done = subprocess.run(
        [*wrapper, "sh", "-c", INVOKE_EACH, "sh", template, *(EVENTS / f"{name}.json" for name in INVOKED)],
        cwd=template.parent,
        env={"SAM": str(SAM), "SAM_LOCAL_ARGS": "", "SAM_CLI_TELEMETRY": "0", **os.environ},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    printed = [line for line in done.stdout.splitlines() if line]
    # The status is 0 even where the function failed, so what counts is what was printed.
    assert len(printed) == len(INVOKED), f"{done.stdout}\n{done.stderr}"
    return dict(zip(INVOKED, map(json.loads, printed), strict=True))


def test_a_transaction_is_scored(answers: dict[str, Any]) -> None:
    """The container flags the payment and gives its probability."""
    body = json.loads(answers["transaction"]["body"])
    assert answers["transaction"]["statusCode"] == 200
    assert 0 < body["fraud_probability"] < 1
    assert body["is_flagged"] is True


def test_a_refund_is_decided(answers: dict[str, Any]) -> None:
    """The container gives the refund request a decision and the confidence in it."""
    body = json.loads(answers["refund"]["body"])
    assert answers["refund"]["statusCode"] == 200
    assert body["prediction"] == 0
    assert 0.5 < body["confidence"] < 1


def test_a_negative_amount_is_refused(answers: dict[str, Any]) -> None:
    """The container answers a value below the contract's minimum with 422 and its place."""
    body = json.loads(answers["negative_amount"]["body"])
    assert answers["negative_amount"]["statusCode"] == 422
    assert [problem["loc"] for problem in body["detail"]] == [["body", "amount_usd"]]
