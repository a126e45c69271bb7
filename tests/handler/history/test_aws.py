"""Calls to AWS: signed as botocore signs them, with the credentials of the environment or the container."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from handler.history import aws
from handler.history.aws import AwsClient, AwsError, read_credentials
from tests.handler.history.local_service import Handler, serving

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a secret"}
REGION = {"AWS_REGION": "eu-central-1"}
NOW = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)


class Service(ThreadingHTTPServer):
    """Answers each call with the next prepared answer, and keeps the requests."""

    def __init__(self, answers: list[tuple[int, Any]]) -> None:
        """Prepare the answers: a status and a body each."""
        super().__init__(("127.0.0.1", 0), _Call)
        self.answers, self.asked, self.connections = answers, list[tuple[str, dict[str, str], bytes]](), set[Any]()

    @property
    def address(self) -> str:
        """The address of the service."""
        return f"http://127.0.0.1:{self.server_port}"


class _Call(Handler):
    server: Service

    def do_POST(self) -> None:  # noqa: N802 - the standard library's name
        length = int(self.headers.get("content-length", "0"))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.path, headers, self.rfile.read(length)))
        self.server.connections.add(self.client_address)
        status, answer = self.server.answers.pop(0)
        self.answer(status, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    do_GET = do_POST  # noqa: N815 - the standard library's name


def service(*answers: tuple[int, Any]) -> AbstractContextManager[Service]:
    """A service with these answers, for the duration of a `with` block."""
    return serving(Service(list(answers)))


@contextmanager
def client(environment: dict[str, str]) -> Iterator[AwsClient]:
    """A client of DynamoDB, for the duration of a `with` block."""
    client = AwsClient("dynamodb", "DynamoDB_20120810", environment)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("token", ["", "a session's token"])
def test_a_call_is_signed_as_botocore_signs_it(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal headers, body, time and credentials give equal signatures, within a second and a day later."""
    calls = [("GetItem", b'{"TableName": "past"}'), ("UpdateItem", b"{}"), ("GetItem", b"")]
    with service(*[(200, {"done": 1})] * (2 * len(calls))) as server:
        given = {**KEYS, **REGION, "AWS_SESSION_TOKEN": token, "AWS_ENDPOINT_URL_DYNAMODB": server.address}
        with client(given) as ours:
            for later in (timedelta(), timedelta(days=1)):
                monkeypatch.setattr(aws, "time", (NOW + later).timestamp)
                for call in calls:
                    assert ours.call([call], 5.0) == [{"done": 1}]
        assert len({headers["authorization"] for _, headers, _ in server.asked}) == 2 * len(calls)
        for (path, headers, body), (operation, sent) in zip(server.asked, calls * 2, strict=True):
            assert body == sent
            require_botocores_signature(f"{server.address}{path}", headers, body, token)
            assert headers["x-amz-target"] == f"DynamoDB_20120810.{operation}"
            assert headers.get("x-amz-security-token", "") == token


def require_botocores_signature(address: str, headers: Mapping[str, str], body: bytes, token: str) -> None:
    """Assert that a request has the signature that botocore gives it."""
    signed = ("content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target")
    request = AWSRequest("POST", address, {n: headers[n] for n in signed if n in headers}, body)
    credentials = BotocoreCredentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], token or None)
    signer = SigV4Auth(credentials, "dynamodb", "eu-central-1")
    request.context["timestamp"] = headers["x-amz-date"]
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert headers["authorization"].endswith(f"Signature={signature}")


def test_the_address_is_that_of_the_region() -> None:
    """The region names the host, which is called over TLS; without a region there is no client."""
    with client({**KEYS, **REGION}) as ours:
        assert (ours._host, ours._port) == ("dynamodb.eu-central-1.amazonaws.com", 443)  # noqa: SLF001 - what it calls
        assert ours._context is not None  # noqa: SLF001 - as above
    with client({**KEYS, "AWS_REGION": "cn-north-1"}) as ours:
        assert ours._host == "dynamodb.cn-north-1.amazonaws.com.cn"  # noqa: SLF001 - as above
    with pytest.raises(ValueError, match=r"^AWS_REGION is empty; set it to the region of the table"):
        AwsClient("dynamodb", "DynamoDB_20120810", KEYS)


def test_calls_at_once_have_connections_that_are_kept() -> None:
    """Three calls at once open three connections, which the next three calls use again."""
    answers = [(200, {"number": number}) for number in range(6)]
    with service(*answers) as server, client({**KEYS, **REGION, "AWS_ENDPOINT_URL": server.address}) as ours:
        for _ in range(2):
            assert all("number" in answer for answer in ours.call([("GetItem", b"{}")] * 3, 5.0))
        assert len(server.connections) == 3


@pytest.mark.parametrize(
    ("status", "content", "code"),
    [
        (400, {"__type": "com.amazonaws#ThrottlingException", "message": "slow down"}, "ThrottlingException"),
        (400, {"__type": "ValidationException", "Message": "too large"}, "ValidationException"),
        (500, {}, "500"),
        (503, b"<html>", "JSONDecodeError"),
        (200, b"\xff", "UnicodeDecodeError"),
    ],
)
def test_a_failed_call_has_a_code(status: int, content: Any, code: str) -> None:  # noqa: ANN401 - JSON or bytes
    """The code is AWS's own, or names the kind of failure; the next call succeeds."""
    with (
        service((status, content), (200, {})) as server,
        client({**KEYS, **REGION, "AWS_ENDPOINT_URL": server.address}) as ours,
    ):
        (problem,) = ours.call([("GetItem", b"{}")], 5.0)
        assert isinstance(problem, AwsError)
        assert problem.code == code
        assert ours.call([("GetItem", b"{}")], 5.0) == [{}]


def test_nobody_there_is_a_failed_call() -> None:
    """The code is ConnectionRefusedError or, if no answer comes in time, TimeoutError."""
    with client({**KEYS, **REGION, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}) as ours:
        (problem,) = ours.call([("GetItem", b"{}")], 5.0)
        assert isinstance(problem, AwsError)
        assert problem.code == "ConnectionRefusedError"
    with service((200, {})) as server, client({**KEYS, **REGION, "AWS_ENDPOINT_URL": server.address}) as ours:
        (problem,) = ours.call([("GetItem", b"{}")], 0.0)
        assert isinstance(problem, AwsError)
        assert problem.code == "TimeoutError"


def test_a_containers_credentials_are_read_again_before_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """With SnapStart only the container provides credentials. Refused ones are read again at once."""

    def given(key_id: str, minutes: int) -> tuple[int, Any]:
        expiration = (NOW + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
        return 200, {"AccessKeyId": key_id, "SecretAccessKey": "s", "Token": "t", "Expiration": expiration}

    refused = (400, {"__type": "x#ExpiredTokenException", "message": "The security token is expired"})
    with (
        service(given("first", 60), given("second", 600), given("third", 600)) as container,
        service((200, {}), (200, {}), refused, (200, {})) as server,
    ):
        environment = {
            **REGION,
            "AWS_ENDPOINT_URL": server.address,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{container.address}/v1?id=1",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "let me in",
        }
        with client(environment) as ours:
            for minutes in (0, 56, 57, 58):
                at = (NOW + timedelta(minutes=minutes)).timestamp()
                monkeypatch.setattr(aws, "time", lambda at=at: at)
                ours.call([("GetItem", b"{}")], 5.0)
        used = [headers["authorization"].split("Credential=")[1].split("/")[0] for _, headers, _ in server.asked]
        assert used == ["first", "second", "second", "third"]
        assert all(headers["x-amz-security-token"] == "t" for _, headers, _ in server.asked)
        assert {path for path, _, _ in container.asked} == {"/v1?id=1"}
        assert {headers["authorization"] for _, headers, _ in container.asked} == {"let me in"}


@pytest.mark.parametrize("content", [b"no JSON", {"AccessKeyId": "a"}, {}])
def test_without_credentials_no_call_is_sent(content: Any) -> None:  # noqa: ANN401 - JSON or bytes
    """The error says what to set, or what is wrong with the container's credentials."""
    with pytest.raises(AwsError, match=r"^NoCredentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        read_credentials({})
    with service((200, content)) as container, service() as server:
        address = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.address, "AWS_ENDPOINT_URL": server.address}
        with client({**REGION, **address}) as ours:
            (problem,) = ours.call([("GetItem", b"{}")], 5.0)
        assert str(problem).startswith("NoCredentials: the container's credentials cannot be read: ")
        assert not server.asked


def test_what_aws_says_of_a_signature_is_not_told() -> None:
    """AWS's message may quote the request's headers, including the session token."""
    quoted = "The request signature we calculated ... x-amz-security-token:secret"
    refused = (400, {"__type": "x#InvalidSignatureException", "message": quoted})
    with service(refused) as server, client({**KEYS, **REGION, "AWS_ENDPOINT_URL": server.address}) as ours:
        (problem,) = ours.call([("GetItem", b"{}")], 5.0)
    assert str(problem) == "InvalidSignatureException: the credentials are invalid or expired, or the clock is wrong"


def test_a_connection_that_the_service_closed_is_opened_again() -> None:
    """The client notices before it sends a call, so no call is lost."""
    with (
        service((200, {}), (200, {})) as server,
        client({**KEYS, **REGION, "AWS_ENDPOINT_URL": server.address}) as ours,
    ):
        assert ours.call([("GetItem", b"{}")], 5.0) == [{}]
        connection = ours._connections[0]._socket  # noqa: SLF001 - the one that is kept
        assert connection is not None
        # The same state as after the service closed it: readable, with nothing to read.
        connection.shutdown(0)
        assert ours.call([("GetItem", b"{}")], 5.0) == [{}]
        assert len(server.connections) == 2
    assert "AWS_ENDPOINT_URL" not in os.environ
