"""The client of docs/api.md: signed requests that an API under AWS_IAM would accept, and failures in one sentence.

The API is a server on the loopback that computes each signature itself, by the steps of AWS's documentation (Signature
Version 4), and lets the function answer.
"""

import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from fastapi.testclient import TestClient

from handler.app import app

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
KEY, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": REGION}
# Use neither the user's profile nor EC2's metadata service, whose timeout would delay the tests.
ISOLATED = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
FRESH = timedelta(minutes=5)

Headers = Mapping[str, str]
RunClient = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Asked:
    """A request without a query; the names of its headers are in lower case."""

    path: str
    headers: Headers
    body: bytes
    method: str = "POST"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature_of(request: Asked, scope: str, names: str) -> str:
    """The signature of a request, with these names as its signed headers."""
    lines = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names.split(";"))
    canonical = "\n".join((request.method, request.path, "", lines, names, hashlib.sha256(request.body).hexdigest()))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    date, region, service, end = scope.split("/")
    key = _hmac(_hmac(_hmac(_hmac(f"AWS4{SECRET}".encode(), date), region), service), end)
    return _hmac(key, f"AWS4-HMAC-SHA256\n{request.headers['x-amz-date']}\n{scope}\n{digest}").hex()


def is_accepted(request: Asked) -> bool:
    """Whether an API in REGION would take the signature for the caller's."""
    form = r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})"
    signed = re.fullmatch(form, request.headers.get("authorization", ""))
    if not signed or signed[1] != KEY or not {"host", "x-amz-date"} <= {*signed[3].split(";")}:
        return False
    at = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    scope = f"{at:%Y%m%d}/{REGION}/execute-api/aws4_request"
    is_fresh = abs(datetime.now(UTC) - at) < FRESH
    return is_fresh and signed[2] == scope and signature_of(request, scope, signed[3]) == signed[4]


class SignedApi(ThreadingHTTPServer):
    """An API that keeps the requests and answers the first ones with `first_statuses`."""

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), _Gateway)
        self.asked: list[Asked] = []
        self.first_statuses: list[int] = []
        self.delay_seconds = 0.0
        self.function = TestClient(app)

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"http://127.0.0.1:{self.server_port}"


class _Gateway(BaseHTTPRequestHandler):
    server: SignedApi

    def do_POST(self) -> None:
        """Refuse, or let the function answer."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Asked(self.path, headers, self.rfile.read(int(headers["content-length"])))
        self.server.asked.append(request)
        time.sleep(self.server.delay_seconds)
        status, content = 403, b'{"message":"Forbidden"}'
        if is_accepted(request):
            answer = self.server.function.post(request.path, content=request.body)
            status, content = answer.status_code, answer.content
        if self.server.first_statuses:
            status, content = self.server.first_statuses.pop(0), b'{"message":"Later"}'
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def api() -> Iterator[SignedApi]:
    """A running API."""
    with SignedApi() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def run_client(tmp_path: Path) -> RunClient:
    """Runs the page's client with these arguments and environment, after replacing `was` by `by` in its code."""
    ((code),) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)

    def run(*arguments: str, was: str = "", by: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        assert was in code
        path = tmp_path / "score_transaction.py"
        path.write_text(code.replace(was, by, 1), encoding="utf-8")
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return subprocess.run(
            [sys.executable, str(path), *arguments],
            env=own | ISOLATED | {"HOME": str(tmp_path)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_these_signatures_are_awss() -> None:
    """The example `get-vanilla` of AWS's Signature Version 4 test suite, and `post-vanilla`."""
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    published = {
        "GET": "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        "POST": "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    }
    scope = "20150830/us-east-1/service/aws4_request"
    for method, signature in published.items():
        assert signature_of(Asked("/", headers, b"", method), scope, "host;x-amz-date") == signature


@pytest.mark.parametrize("token", ["", "a session's token"], ids=["key", "session"])
def test_the_client_prints_the_answer(api: SignedApi, run_client: RunClient, token: str) -> None:
    """Probability, band, and a line for each reason, as the function answers; a session's token is signed too."""
    done = run_client(f"{api.url}/", **CREDENTIALS, **({"AWS_SESSION_TOKEN": token} if token else {}))
    assert (done.returncode, done.stderr) == (0, "")
    (request,) = api.asked
    answer = api.function.post("/predict", content=request.body).json()
    assert request.path == "/predict"
    assert done.stdout.splitlines() == [
        f"{answer['fraud_probability']:.4f}, {answer['band']}",
        *(f"- {reason['sentence']}" for reason in answer["reasons"]),
    ]
    assert answer["reasons"]
    assert request.headers.get("x-amz-security-token", "") == token
    assert ("x-amz-security-token" in request.headers["authorization"]) == bool(token)


def test_a_tampered_request_is_refused(api: SignedApi, run_client: RunClient) -> None:
    """What the client signed is accepted again; with another amount, header, path or date it is not."""
    assert run_client(api.url, **CREDENTIALS).returncode == 0
    (original,) = api.asked
    other = json.dumps({**json.loads(original.body), "amount_usd": 1.0}).encode()

    def status_of(path: str, body: bytes, **changed: str) -> int:
        sent = {name: value for name, value in original.headers.items() if name != "content-length"}
        request = Request(api.url + path, body, sent | {name.replace("_", "-"): text for name, text in changed.items()})  # noqa: S310 - the loopback
        try:
            with urlopen(request) as answer:  # noqa: S310 - as above
                status: int = answer.status
        except HTTPError as error:
            with error:
                return error.code
        return status

    assert status_of(original.path, original.body) == 200
    assert status_of(original.path, other) == 403
    assert status_of("/outcomes", original.body) == 403
    assert status_of(original.path, original.body, content_type="text/plain") == 403
    assert status_of(original.path, original.body, x_amz_date="20150830T123600Z") == 403


def test_the_client_tries_again(api: SignedApi, run_client: RunClient) -> None:
    """After a 429 and a 503, with the same body, and a signature of its own each time."""
    api.first_statuses = [429, 503]
    done = run_client(api.url, **CREDENTIALS)
    assert (done.returncode, len(api.asked)) == (0, 3)
    assert len({request.body for request in api.asked}) == 1


def test_the_client_gives_up(api: SignedApi, run_client: RunClient) -> None:
    """After a few attempts, in one sentence with the status and the API's words."""
    api.first_statuses = [429] * 9
    done = run_client(api.url, was="(0.2, 0.4, 0.8, 1.6)", by="(0.01, 0.01)", **CREDENTIALS)
    assert (done.returncode, done.stdout, len(api.asked)) == (1, "", 3)
    assert done.stderr == f'{api.url}/predict answered 429: {{"message":"Later"}}\n'


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        pytest.param(
            {"AWS_DEFAULT_REGION": REGION},
            "there are no AWS credentials: set AWS_PROFILE, or run `aws configure`",
            id="no credentials",
        ),
        pytest.param(
            {**CREDENTIALS, "AWS_DEFAULT_REGION": ""},
            "there is no region: set AWS_DEFAULT_REGION to that of the API",
            id="no region",
        ),
        pytest.param(
            {"AWS_PROFILE": "nobody", "AWS_DEFAULT_REGION": REGION},
            "the AWS credentials cannot be used: The config profile (nobody) could not be found",
            id="no such profile",
        ),
    ],
)
def test_what_is_missing_is_one_sentence(
    api: SignedApi, run_client: RunClient, environment: dict[str, str], sentence: str
) -> None:
    """Nothing is sent."""
    done = run_client(api.url, **environment)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{sentence}\n")
    assert api.asked == []


@pytest.mark.parametrize(
    "changed",
    [{"AWS_SECRET_ACCESS_KEY": "another"}, {"AWS_DEFAULT_REGION": "eu-west-1"}],
    ids=["another secret", "another region"],
)
def test_a_refusal_names_the_right_that_may_be_missing(
    api: SignedApi, run_client: RunClient, changed: dict[str, str]
) -> None:
    """The sentence also has the API's own words; the client does not try again."""
    done = run_client(api.url, **CREDENTIALS | changed)
    assert (done.returncode, done.stdout, len(api.asked)) == (1, "", 1)
    words = f'{api.url}/predict answered 403: {{"message":"Forbidden"}}'
    assert done.stderr == f"{words} (does the role have execute-api:Invoke on POST/predict of this API?)\n"


def test_a_refused_transaction_is_told(api: SignedApi, run_client: RunClient) -> None:
    """The message has the function's answer, which names the field."""
    done = run_client(api.url, was='"amount_usd": 950.0', by='"amount_usd": -1', **CREDENTIALS)
    assert done.returncode == 1
    assert re.fullmatch(r"http\S+/predict answered 422: \{.*amount_usd.*\}\n", done.stderr)


def test_no_answer_is_one_sentence(api: SignedApi, run_client: RunClient) -> None:
    """The server does not answer in time or is not there, or the address is missing or invalid."""
    api.delay_seconds = 1.0
    done = run_client(
        api.url, was="TIMEOUT_SECONDS, WAITS_SECONDS = 10,", by="TIMEOUT_SECONDS, WAITS_SECONDS = 0.1,", **CREDENTIALS
    )
    assert (done.returncode, done.stderr) == (1, f"{api.url}/predict gave no answer: timed out\n")
    done = run_client("http://127.0.0.1:1", **CREDENTIALS)
    assert done.returncode == 1
    assert re.fullmatch(r"http://127\.0\.0\.1:1/predict gave no answer: .*Connection refused.*\n", done.stderr)
    for arguments in ((), ("nowhere",), (api.url, "more")):
        done = run_client(*arguments, **CREDENTIALS)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Score one transaction: python score_transaction.py https://")
