"""A store in S3 that fails in every way: the function goes on answering, counts it, and follows again by itself."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.variants import write_variant
from tests.unmeasured import unmeasured_environment
from training.delivery.pointer import update_pointer
from training.delivery.publish import publish
from training.delivery.store_writer import S3StoreWriter, open_store_writer

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "build" / "bundles" / "refund"
BUDGET_MS = 50
# How long a shared machine may pause a process.
PAUSE_SECONDS = 0.5
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"


class Proxy(ThreadingHTTPServer):
    """Stands before S3 and passes requests on, or misbehaves as `mode` says."""

    mode = "well"
    daemon_threads = True

    def __init__(self, target: str) -> None:
        """Stand before the server at this address."""
        self.target = urlsplit(target).netloc
        super().__init__(("127.0.0.1", 0), _Passing)


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def do_GET(self) -> None:
        """Pass one request on, or not."""
        if self.server.mode == "down":
            self.close_connection = True
            self.connection.close()
            return
        if self.server.mode == "slow":
            time.sleep(10)
        status, headers, body = 403, [("content-type", "application/xml")], DENIED
        if self.server.mode != "denied":
            with closing(HTTPConnection(self.server.target)) as connection:
                connection.request("GET", self.path, headers=dict(self.headers))
                answer = connection.getresponse()
                status, body = answer.status, answer.read()
                headers = [pair for pair in answer.getheaders() if pair[0].lower() not in _HOPS]
        with suppress(OSError):  # the client may have given up
            self.send_response(status)
            for name, value in [*headers, ("content-length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


_HOPS = {"content-length", "transfer-encoding", "connection"}

# Each line of stdin is a number of seconds: for so long it calls the handler, then prints the answers as a JSON line.
CHILD = """
import json, sys, time
from types import SimpleNamespace
from handler.app import handler
context = SimpleNamespace(function_version="1")
event = json.load(open("tests/events/refund.json"))
print("started", flush=True)
for line in sys.stdin:
    end, answers, most = time.time() + float(line), [], 0.0
    while time.time() < end:
        start = time.perf_counter()
        answer = handler(event, context)
        most = max(most, time.perf_counter() - start)
        answers.append((answer["statusCode"], json.loads(answer["body"]).get("model_version")))
        time.sleep(0.01)
    # In one write, or a thread's metrics could come between the line and its end.
    sys.stdout.write(json.dumps({"answers": sorted(set(answers)), "last": answers[-1], "most": most}) + "\\n")
    sys.stdout.flush()
"""


@dataclass
class Function:
    """The Lambda handler in a process of its own, and the lines of metrics that it wrote."""

    process: subprocess.Popen[str]
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, seconds: float) -> dict[str, Any]:
        """The answers to requests sent for this many seconds; its metrics are kept."""
        assert self.process.stdin
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return dict(json.loads(self.wait_for('{"answers"')))

    def wait_for(self, start: str) -> str:
        """The first line with this start; the lines before it are metrics, which are kept."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(start):
                return line
            self.metrics.append(json.loads(line))
        raise AssertionError("the function ended")

    def count(self, metric: str) -> int:
        """How often a metric of refund, the only scorer in the store, was counted."""
        return sum(line.get(metric, 0) for line in self.metrics if line.get("Scorer") == "refund")

    def ask_until(self, is_so: Callable[[dict[str, Any]], bool], seconds: float = 20) -> dict[str, Any]:
        """The first answers for which a condition holds, which must come within some seconds."""
        end = time.monotonic() + seconds
        while not is_so(result := self.ask(0.3)):
            assert time.monotonic() < end, f"it is never so: {result}"
        return result


@pytest.fixture
def proxy(s3_address: str) -> Iterator[Proxy]:
    """A proxy before the S3 of the tests."""
    with Proxy(s3_address) as proxy:
        Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield proxy
        proxy.shutdown()


@pytest.fixture
def store(bucket: str) -> S3StoreWriter:
    """An empty store in S3."""
    store = open_store_writer(f"s3://{bucket}/models")
    assert isinstance(store, S3StoreWriter)
    return store


@pytest.fixture
def versions(store: S3StoreWriter, tmp_path: Path) -> list[str]:
    """Two released versions, neither of them the packaged one; the first is current."""
    versions = []
    for number in (1, 2):
        write_variant(BUNDLE, tmp_path / str(number), shift=0.1 * number)
        versions.append(publish(store, tmp_path / str(number)))
    promote(store, versions[0])
    return versions


@contextmanager
def following(store: S3StoreWriter, proxy: Proxy) -> Iterator[Function]:
    """Starts the handler, which follows the store by way of the proxy."""
    address = {"STORE": str(store), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}"}
    limits = {"METRICS": "emf", "STORE_SECONDS": "0.2", "STORE_BUDGET_MS": str(BUDGET_MS)}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=ROOT,
        env=unmeasured_environment() | limits | address,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        function = Function(process)
        function.wait_for("started")
        yield function
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=20)


def promote(store: S3StoreWriter, version: str) -> None:
    """Move the pointer, without a gate."""
    update_pointer(store, "refund", "promote", lambda _: {"current": version})


def replace_pointer(store: S3StoreWriter, content: bytes | None) -> None:
    """Put other content into the pointer's place, or delete it."""
    key = f"{store.prefix}refund/pointer.json"
    if content is None:
        store.client.delete_object(Bucket=store.bucket, Key=key)
    else:
        store.client.put_object(Bucket=store.bucket, Key=key, Body=content)


@pytest.mark.parametrize("fault", ["down", "slow", "denied", "pointer missing", "pointer garbage"])
def test_a_store_that_fails_is_counted_and_followed_again(
    fault: str, proxy: Proxy, store: S3StoreWriter, versions: list[str]
) -> None:
    """Until then every request is answered by the version that served before, within the budget."""
    first, second = versions
    with following(store, proxy) as function:
        assert function.ask(0.3)["answers"] == [[200, first]]
        before = function.count("StoreFailed")
        pointer = store.read("refund/pointer.json", 10_000)
        if fault.startswith("pointer"):
            replace_pointer(store, None if fault == "pointer missing" else pointer[:-9])
        else:
            proxy.mode = fault
        result = function.ask_until(lambda _: function.count("StoreFailed") > before)
        assert result["answers"] == [[200, first]]
        assert result["most"] < BUDGET_MS / 1000 + PAUSE_SECONDS
        proxy.mode = "well"
        if fault.startswith("pointer"):
            replace_pointer(store, pointer)
        promote(store, second)
        result = function.ask_until(lambda result: result["last"] == [200, second])
        assert {status for status, _ in result["answers"]} == {200}
        assert function.count("Swapped") == 2


def test_a_store_that_is_down_at_the_start_is_followed_later(
    proxy: Proxy, store: S3StoreWriter, versions: list[str]
) -> None:
    """Until then the packaged bundle serves."""
    packaged = json.loads((BUNDLE / "manifest.json").read_bytes())["version"]
    proxy.mode = "down"
    with following(store, proxy) as function:
        assert function.ask(0.3)["answers"] == [[200, packaged]]
        proxy.mode = "well"
        function.ask_until(lambda result: result["last"] == [200, versions[0]])
