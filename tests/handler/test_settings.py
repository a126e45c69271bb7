"""Settings: a wrong one stops the start with a sentence that names it."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from handler.scorer import Scorer
from training.shelf import FolderShelf

ROOT = Path(__file__).parents[2]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def start(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process that imports the settings, or more, in an environment."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**kept, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("MAX_BODY_BYTES", "1e6", "it must be a whole number above 0"),
        ("MAX_BODY_BYTES", "-1", "it must be a whole number above 0"),
        ("MAX_BODY_BYTES", "٣", "it must be a whole number above 0"),
        ("BODY_TIMEOUT_SECONDS", "0", "it must be a whole number above 0"),
        ("BASE_PATH", "fraud", "it must begin with /, such as /fraud"),
        ("METRICS", "on", "it must be emf, or empty for none"),
        ("STORE_SECONDS", "soon", "it must be a number of seconds above 0"),
        ("STORE_SECONDS", "0", "it must be a number of seconds above 0"),
        ("STORE_SECONDS", "-1", "it must be a number of seconds above 0"),
        ("STORE_SECONDS", "nan", "it must be a number of seconds above 0"),
        ("STORE_SECONDS", "inf", "it must be a number of seconds above 0"),
        ("STORE_BUDGET_MS", "0", "it must be a whole number above 0"),
        ("STORE_BUDGET_MS", "50.5", "it must be a whole number above 0"),
    ],
)
def test_a_wrong_setting_stops_the_start(name: str, value: str, rule: str) -> None:
    """The last line names the setting, the value and what would be right."""
    run = start("import handler.settings", **{name: value})
    assert run.returncode != 0
    assert run.stderr.splitlines()[-1] == f"ValueError: {name} is {value!r}; {rule}"


def test_a_wrong_public_key_stops_the_start() -> None:
    """Which would otherwise refuse every release."""
    run = start("import handler.settings", STORE_PUBLIC_KEY="c2hvcnQ=")
    assert run.returncode != 0
    rule = "is not an Ed25519 public key in base64, raw (32 bytes) or X.509 (44 bytes)"
    assert run.stderr.splitlines()[-1] == f"ValueError: STORE_PUBLIC_KEY: 'c2hvcnQ=' {rule}"


@pytest.mark.parametrize("value", [",", " ", " , "])
def test_a_public_key_that_is_none_stops_the_start(value: str) -> None:
    """Somebody meant to ask for signatures."""
    assert start("import handler.settings", STORE_PUBLIC_KEY=value).returncode != 0


def test_the_stores_settings_are_read() -> None:
    """In seconds, milliseconds and raw bytes; a second may be divided."""
    script = "from handler.settings import *; print(STORE, STORE_SECONDS, STORE_BUDGET_MS, STORE_PUBLIC_KEY)"
    key = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    given = start(script, STORE="/srv/models", STORE_SECONDS="0.5", STORE_BUDGET_MS="20", STORE_PUBLIC_KEY=key)
    assert given.stdout.strip() == f"/srv/models 0.5 20 {(KEY.public_key().public_bytes_raw(),)}"
    assert start(script).stdout.strip() == "30 50 ()"


def test_a_store_of_an_unknown_kind_stops_the_start() -> None:
    """The last line says what it may be."""
    run = start("import handler.app", STORE="gs://models")
    assert run.returncode != 0
    rule = "it must be a folder, or s3://bucket or s3://bucket/prefix"
    assert run.stderr.splitlines()[-1] == f"ValueError: the store is 'gs://models'; {rule}"


STORED = """
import json, sys
from handler.app import handler
event = json.load(open("tests/events/refund.json"))

def version():
    return json.loads(handler(event, None)["body"])["model_version"]

print(version(), "boto3" in sys.modules, "botocore" in sys.modules)
"""


def test_the_first_answer_is_by_what_the_store_names(shelf: FolderShelf, promote: Callable[..., str]) -> None:
    """A folder's reader has no use for AWS's client."""
    version = promote(shift=0.5)
    run = start(STORED, STORE=str(shelf))
    assert run.stdout.split() == [version, "False", "False"], run.stderr


def test_without_a_store_the_packaged_version_answers(refund: Scorer) -> None:
    """And nothing of AWS's client is imported."""
    run = start(STORED)
    assert run.stdout.split() == [refund.version, "False", "False"], run.stderr


def test_with_a_key_the_first_answer_is_by_what_was_signed(
    shelf: FolderShelf, promote: Callable[..., str], refund: Scorer
) -> None:
    """What was not is refused, and the packaged version answers."""
    version = promote(shift=0.5)
    key = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    run = start(STORED, STORE=str(shelf), STORE_PUBLIC_KEY=key)
    assert run.stdout.split()[0] == refund.version
    assert f"refund: {version} is refused: " in run.stderr
    assert "the bundle is not signed" in run.stderr


def test_an_s3_that_refuses_connections_does_not_stop_the_start(refund: Scorer) -> None:
    """The packaged version answers, and the log says why."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        run = start(
            STORED,
            STORE="s3://models/fraud",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{taken.getsockname()[1]}",
            AWS_ACCESS_KEY_ID="testing",
            AWS_SECRET_ACCESS_KEY="testing",  # noqa: S106 - nobody reads it
            AWS_DEFAULT_REGION="eu-central-1",
        )
    assert run.stdout.split()[0] == refund.version
    sentence = (
        f"s3://models/fraud/refund/pointer.json cannot be read: EndpointConnectionError; {refund.version} serves on"
    )
    assert f"refund: {sentence}" in run.stderr.splitlines()


FOLLOWING = f"""{STORED}
import os
from handler.app import _slots
os.replace(sys.argv[1] + "/next.json", sys.argv[1] + "/pointer.json")
print(version())
os.replace(sys.argv[1] + "/last.json", sys.argv[1] + "/pointer.json")
handler(json.load(open("tests/events/schedules/rule.json")), None)
print(_slots["refund"].served.scorer.version)
"""


def test_invocations_and_schedules_follow_the_pointer(shelf: FolderShelf, promote: Callable[..., str]) -> None:
    """Each looks where a look is due, and waits within its budget for what it finds."""
    versions, folder = [], shelf.root / "refund"
    for shift, name in ((0.5, "first"), (1.0, "next"), (1.5, "last")):
        versions.append(promote(shift=shift))
        shutil.copy(folder / "pointer.json", folder / f"{name}.json")
    (folder / "first.json").replace(folder / "pointer.json")
    script = FOLLOWING.replace("sys.argv[1]", repr(str(folder)))
    run = start(script, STORE=str(shelf), STORE_SECONDS="0.000001", STORE_BUDGET_MS="10000")
    assert [line.split()[0] for line in run.stdout.splitlines()] == versions, run.stderr


ASK = """
import sys
from fastapi.testclient import TestClient
from handler.app import app, handler
client = TestClient(app)
"""


def test_cross_origin_requests_are_answered_where_declared() -> None:
    """A preflight from a named origin is allowed, from another it is not; POST answers name the origin."""
    script = f"""{ASK}
asked = {{"access-control-request-method": "POST", "access-control-request-headers": "content-type"}}
for origin in ("https://a.example", "https://c.example"):
    print(client.options("/predict", headers={{**asked, "origin": origin}}).status_code)
answer = client.post("/api/v1/refund-predict", content="{{}}", headers={{"origin": "https://b.example"}})
print(answer.status_code, answer.headers["access-control-allow-origin"])
"""
    run = start(script, CORS_ORIGINS="https://a.example, https://b.example")
    assert run.stdout.split("\n") == ["200", "400", "422 https://b.example", ""], run.stderr


def test_a_base_path_stands_before_every_path() -> None:
    """As a custom domain's mapping has it; without it the routes answer too."""
    script = f"""{ASK}
from handler.gateway import post_event
for path in ("/fraud/predict", "/predict", "/fraudulent/predict", "/fraud"):
    print(handler(post_event(path, "", "{{}}"), None)["statusCode"])
"""
    run = start(script, BASE_PATH="/fraud/")
    assert run.stdout.split() == ["422", "422", "404", "404"], run.stderr


def test_a_preflight_through_lambda_is_answered() -> None:
    """A Function URL or a load balancer passes it on; an HTTP API answers it itself."""
    script = """
import json
from handler.app import handler
event = json.load(open("tests/events/doors/function_url.json"))
event["requestContext"]["http"]["method"] = "OPTIONS"
event["headers"] |= {"origin": "https://a.example", "access-control-request-method": "POST"}
event["headers"] |= {"access-control-request-headers": "authorization,content-type,x-amz-date"}
answer = handler({**event, "body": ""}, None)
print(answer["statusCode"], answer["headers"]["access-control-allow-origin"])
"""
    run = start(script, CORS_ORIGINS="https://a.example,https://b.example")
    assert run.stdout.split() == ["200", "https://a.example"], run.stderr


METERED = """
import json
from types import SimpleNamespace
from handler.app import handler
context = SimpleNamespace(function_version="1")
event = json.load(open("tests/events/transaction.json"))
batch = json.loads(json.dumps(event).replace("/predict", "/predict/batch"))
batch["body"] = f"[{event['body']},{event['body']}]"
for each in (event, batch, {**event, "body": "{}"}):
    handler(each, context)
handler(event, None)
"""


def test_each_invocation_is_counted_once() -> None:
    """A batch by its size; neither a refused request nor the warm-up of the start, which has no context, is counted."""
    run = start(METERED, METRICS="emf")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert ['"Scored":1,"Flagged":1}' in lines[0], '"Scored":2,"Flagged":2}' in lines[1], len(lines)] == [True, True, 2]
    assert start(METERED).stdout == ""


def test_what_callers_asked_is_recorded(tmp_path: Path) -> None:
    """Neither a refused request nor the warm-up of the start, which has no context."""
    path = tmp_path / "predictions.jsonl"
    run = start(METERED, PREDICTIONS=str(path))
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
    assert [json.loads(line)["flagged"] for line in path.read_bytes().splitlines()] == [True] * 3


FAILING = """
import json
from types import SimpleNamespace
from handler.app import app, handler

def fail(scorer, body, **_):
    raise KeyError(body.decode())

for route in app.routes:
    if route.path == "/predict":
        route.endpoint._answered = fail
event = json.load(open("tests/events/transaction.json"))
print(handler(event, SimpleNamespace(function_version="1"))["statusCode"], flush=True)
"""


def test_a_defect_is_a_500_that_the_metrics_count_and_the_log_does_not_quote() -> None:
    """Lambda takes such an invocation for a success; the alarms must not."""
    run = start(FAILING, METRICS="emf")
    assert run.stdout.splitlines()[-1] == "500"
    assert '"Failed":1}' in run.stdout
    assert "KeyError" in run.stderr
    assert "in fail" in run.stderr
    assert "950" not in run.stderr


def test_a_version_that_fails_its_own_request_does_not_start() -> None:
    """It never takes traffic."""
    script = """
import handler.scorer
handler.scorer.Scorer.answer = lambda *_, **__: {}["model"]
import handler.app
"""
    run = start(script)
    assert run.returncode != 0
    assert re.fullmatch(r"RuntimeError: /\S+ answers its own golden request with 500", run.stderr.splitlines()[-1])
