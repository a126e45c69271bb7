"""Settings: a wrong one stops the start with a sentence that names it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
    ],
)
def test_a_wrong_setting_stops_the_start(name: str, value: str, rule: str) -> None:
    """The last line names the setting, the value and what would be right."""
    run = start("import handler.settings", **{name: value})
    assert run.returncode != 0
    assert run.stderr.splitlines()[-1] == f"ValueError: {name} is {value!r}; {rule}"


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
