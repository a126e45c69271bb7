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
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.variants import write_variant
from handler.records.record import hashed
from handler.scoring.scorer import Scorer
from handler.settings import BUNDLES
from training.delivery.store_writer import FolderStoreWriter

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
        ("PREDICTIONS_RATE", "0", "it must be above 0 and at most 1"),
        ("PREDICTIONS_RATE", "1.01", "it must be above 0 and at most 1"),
        ("PREDICTIONS_RATE", "-0.5", "it must be above 0 and at most 1"),
        ("PREDICTIONS_RATE", "nan", "it must be above 0 and at most 1"),
        ("PREDICTIONS_RATE", "10 %", "it must be above 0 and at most 1"),
    ],
)
def test_a_wrong_setting_stops_the_start(name: str, value: str, rule: str) -> None:
    """The last line names the setting, the value and what would be right."""
    run = start("import handler.settings", **{name: value})
    assert run.returncode != 0
    assert run.stderr.splitlines()[-1] == f"ValueError: {name} is {value!r}; {rule}"


def test_a_wrong_public_key_stops_the_start() -> None:
    """Which would otherwise refuse every release; a private key, pasted by mistake, is not in the log for it."""
    run = start("import handler.settings", STORE_PUBLIC_KEY="c2hvcnQ=")
    assert run.returncode != 0
    rule = "is not an Ed25519 public key in base64, raw (32 bytes) or X.509 (44 bytes)"
    assert run.stderr.splitlines()[-1] == f"ValueError: STORE_PUBLIC_KEY: key 1, of 8 characters, {rule}"
    assert "c2hvcnQ=" not in run.stderr


@pytest.mark.parametrize("value", [",", " ", " , "])
def test_a_public_key_that_is_none_stops_the_start(value: str) -> None:
    """Somebody meant to ask for signatures."""
    run = start("import handler.settings", STORE_PUBLIC_KEY=value)
    assert run.returncode != 0
    rule = "it holds no public key; leave it empty to ask for no signature"
    assert run.stderr.splitlines()[-1] == f"ValueError: STORE_PUBLIC_KEY: {rule}"


def test_the_records_settings_are_read() -> None:
    """Everything by default, and the key in bytes; empty means not set."""
    script = "from handler.settings import *; print([PREDICTIONS, PREDICTIONS_RATE, PREDICTIONS_KEY])"
    given = start(script, PREDICTIONS="/srv/log", PREDICTIONS_RATE="0.25", PREDICTIONS_KEY="ä")
    assert given.stdout.strip() == "['/srv/log', 0.25, b'\\xc3\\xa4']"
    for unset in ({}, dict.fromkeys(("PREDICTIONS", "PREDICTIONS_RATE", "PREDICTIONS_KEY"), "")):
        assert start(script, **unset).stdout.strip() == "['', 1.0, b'']"


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
    assert run.stderr.splitlines()[-1] == f"ValueError: STORE is 'gs://models'; {rule}"


STORED = """
import json, sys
from handler.app import handler
event = json.load(open("tests/events/refund.json"))

def version():
    return json.loads(handler(event, None)["body"])["model_version"]

print(version(), "boto3" in sys.modules, "botocore" in sys.modules)
"""


def test_an_s3_without_its_client_stops_the_start() -> None:
    """The last line says what is missing."""
    run = start("import sys; sys.modules['boto3'] = None; import handler.app", STORE="s3://models/fraud")
    assert run.returncode != 0
    rule = "a store at s3://models needs boto3, which Lambda has; install it here"
    assert run.stderr.splitlines()[-1] == f"ValueError: {rule}"


def test_the_first_answer_is_by_what_the_store_names(shelf: FolderStoreWriter, promote: Callable[..., str]) -> None:
    """A folder's reader has no use for AWS's client."""
    version = promote(shift=0.5)
    run = start(STORED, STORE=str(shelf))
    assert run.stdout.split() == [version, "False", "False"], run.stderr


def test_without_a_store_the_packaged_version_answers(refund: Scorer) -> None:
    """And nothing of AWS's client is imported."""
    run = start(STORED)
    assert run.stdout.split() == [refund.version, "False", "False"], run.stderr


def test_with_a_key_the_first_answer_is_by_what_was_signed(
    shelf: FolderStoreWriter, promote: Callable[..., str], refund: Scorer
) -> None:
    """What was not is refused, and the packaged version answers."""
    version = promote(shift=0.5)
    key = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    run = start(STORED, STORE=str(shelf), STORE_PUBLIC_KEY=key)
    assert run.stdout.split()[0] == refund.version
    assert f"refund: {version} is refused: " in run.stderr
    assert "is not signed by a key that is trusted here" in run.stderr


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


def test_invocations_and_schedules_follow_the_pointer(shelf: FolderStoreWriter, promote: Callable[..., str]) -> None:
    """Each looks where a look is due, and waits within its budget for what it finds."""
    versions, folder = [], shelf.root / "refund"
    for shift, name in ((0.5, "first"), (1.0, "next"), (1.5, "last")):
        versions.append(promote(shift=shift))
        shutil.copy(folder / "pointer.json", folder / f"{name}.json")
    (folder / "first.json").replace(folder / "pointer.json")
    script = FOLLOWING.replace("sys.argv[1]", repr(str(folder)))
    run = start(script, STORE=str(shelf), STORE_SECONDS="0.000001", STORE_BUDGET_MS="10000")
    assert [line.split()[0] for line in run.stdout.splitlines()] == versions, run.stderr


RESTORING = """
hooks = []


def register_after_restore(function, *arguments, **keywords):
    hooks.append(lambda: function(*arguments, **keywords))
"""

RESTORED = """
import os
import snapshot_restore_py
from handler.app import _slots

print(len(snapshot_restore_py.hooks), _slots["refund"].served.scorer.version)
if os.environ.get("STORE"):
    os.replace(POINTERS + "/next.json", POINTERS + "/pointer.json")
for hook in snapshot_restore_py.hooks:
    hook()
print(_slots["refund"].served.scorer.version)
"""


@pytest.fixture
def lambdas_library(tmp_path: Path) -> dict[str, str]:
    """The environment in which what tells of a snapshot's restore can be imported, as in Lambda."""
    folder = tmp_path / "lambda"
    folder.mkdir()
    (folder / "snapshot_restore_py.py").write_text(RESTORING)
    return {"PYTHONPATH": str(folder)}


def test_a_restored_snapshot_serves_what_the_store_names_by_then(
    shelf: FolderStoreWriter, promote: Callable[..., str], lambdas_library: dict[str, str]
) -> None:
    """Before its first invocation: a snapshot may be weeks old."""
    versions, folder = [], shelf.root / "refund"
    for shift, name in ((0.5, "first"), (1.0, "next")):
        versions.append(promote(shift=shift))
        shutil.copy(folder / "pointer.json", folder / f"{name}.json")
    (folder / "first.json").replace(folder / "pointer.json")
    script = RESTORED.replace("POINTERS", repr(str(folder)))
    run = start(script, STORE=str(shelf), STORE_SECONDS="0.000001", **lambdas_library)
    assert run.stdout.split() == ["1", *versions], run.stderr


def test_a_restored_snapshot_looks_no_sooner_than_it_is_due(
    shelf: FolderStoreWriter, promote: Callable[..., str], lambdas_library: dict[str, str]
) -> None:
    """One that was made just now is as new as any process."""
    version, folder = promote(shift=0.5), shelf.root / "refund"
    shutil.copy(folder / "pointer.json", folder / "first.json")
    promote(shift=1.0)
    (folder / "pointer.json").replace(folder / "next.json")
    (folder / "first.json").replace(folder / "pointer.json")
    run = start(RESTORED.replace("POINTERS", repr(str(folder))), STORE=str(shelf), **lambdas_library)
    assert run.stdout.split() == ["1", version, version], run.stderr


def test_without_a_store_nothing_is_to_be_done_after_a_restore(lambdas_library: dict[str, str], refund: Scorer) -> None:
    """What was packaged never grows stale."""
    run = start(RESTORED, **lambdas_library)
    assert run.stdout.split() == ["0", refund.version, refund.version], run.stderr


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
from handler.web.gateway import post_event
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
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [(line["Scored"], line["Flagged"]) for line in lines] == [(1, 1), (2, 2)]
    assert start(METERED).stdout == ""


def recorded(folder: Path) -> list[dict[str, Any]]:
    """What the one file of a folder holds, by lines."""
    (path,) = folder.iterdir()
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_what_callers_asked_is_recorded(tmp_path: Path) -> None:
    """Neither a refused request nor the warm-up of the start, which has no context."""
    run = start(METERED, PREDICTIONS=str(tmp_path / "log"))
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
    assert [line["flagged"] for line in recorded(tmp_path / "log")] == [True] * 3


def test_before_anybody_asked_there_is_no_record(tmp_path: Path) -> None:
    """Not even its folder: the warm-up's requests are nobody's."""
    run = start("import handler.app", PREDICTIONS=str(tmp_path / "log"))
    assert (run.returncode, list(tmp_path.iterdir())) == (0, []), run.stderr


TELLING = """
import json
from types import SimpleNamespace
from handler.app import handler
from handler.web.gateway import post_event
context = SimpleNamespace(function_version="1")
body = json.dumps([{"scorer": "refund", "id": "r1", "label": True}])
print(handler(post_event("/outcomes", "", body), context)["statusCode"], flush=True)
"""


def test_outcomes_are_recorded_where_predictions_are() -> None:
    """On stdout, as in Lambda, among its lines; without a record they are refused."""
    run = start(TELLING, PREDICTIONS="stdout")
    line, status = run.stdout.splitlines()
    assert (status, json.loads(line)["id"], json.loads(line)["label"]) == ("200", "r1", 1), run.stderr
    assert start(TELLING).stdout.split() == ["409"]


def test_a_share_of_what_was_asked_is_recorded(tmp_path: Path) -> None:
    """Here of three requests none, but for once in a hundred million runs."""
    run = start(METERED, PREDICTIONS=str(tmp_path / "log"), PREDICTIONS_RATE="0.000000003")
    assert (run.returncode, list(tmp_path.iterdir())) == (0, []), run.stderr


@pytest.fixture
def hashing(tmp_path: Path) -> dict[str, str]:
    """The environment of a function whose one scorer declares a private field that is to be hashed."""
    contract = json.loads((BUNDLES / "refund" / "manifest.json").read_bytes())["contract"]
    contract["fields"]["item"]["private"] = "hash"
    write_variant(BUNDLES / "refund", tmp_path / "bundles" / "refund", contract=contract)
    return {"BUNDLES": str(tmp_path / "bundles"), "PREDICTIONS": str(tmp_path / "log")}


REFUNDED = METERED.replace("transaction", "refund_explained").replace("/predict", "/refund-predict")


def test_a_field_that_is_to_be_hashed_needs_a_key(hashing: dict[str, str]) -> None:
    """Without one anybody could look the hashes up; the function does not start."""
    run = start("import handler.app", **hashing)
    assert run.returncode != 0
    rule = "refund declares fields private: hash, which need a key"
    assert run.stderr.splitlines()[-1] == f"ValueError: PREDICTIONS_KEY is empty; {rule}"


def test_without_a_record_nothing_needs_a_key(hashing: dict[str, str]) -> None:
    """Nothing is hashed where nothing is written."""
    run = start("import handler.app", **{**hashing, "PREDICTIONS": ""})
    assert run.returncode == 0, run.stderr


def test_private_values_are_hashed_with_the_deployments_key(hashing: dict[str, str], tmp_path: Path) -> None:
    """Which monitoring has to know too."""
    run = start(REFUNDED, **hashing, PREDICTIONS_KEY="secret")
    assert run.returncode == 0, run.stderr
    values = {line["features"]["item_category"] for line in recorded(tmp_path / "log")}
    assert values == {hashed("Food, Perishable", b"secret")}


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
import handler.scoring.scorer
handler.scoring.scorer.Scorer.answer = lambda *_, **__: {}["model"]
import handler.app
"""
    run = start(script)
    assert run.returncode != 0
    assert re.fullmatch(r"RuntimeError: /\S+ answers its own golden request with 500", run.stderr.splitlines()[-1])
