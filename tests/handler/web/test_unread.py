"""Events that are not requests: warm-ups, records of queues and buckets, direct calls, hooks."""

import json
import logging
from typing import Any

import pytest

from handler.app import handler
from handler.web.unread import UnreadRecordsError

PAYMENT = {"amount_usd": 950.0, "chain": "ETH", "sender_country": "US"}
TEXT = json.dumps(PAYMENT)
EVENTBRIDGE = {"version": "0", "id": "53dc4d37", "detail-type": "payment", "resources": [], "detail": PAYMENT}
KINDS = ("HTTP API", "REST API", "Function URL", "ALB", "VPC Lattice", "schedules", "warm-up")

# What arrives, and a word that says what it is.
UNREAD: dict[str, tuple[Any, str]] = {
    "a direct payment": (PAYMENT, "'amount_usd', 'chain', 'sender_country'"),
    "a payment as a body's text": ({"body": TEXT}, "the key 'body'"),
    "a payment as a body": ({"body": PAYMENT}, "the key 'body'"),
    "nothing": ({}, "no keys"),
    "null": (None, "not a JSON object"),
    "text": ("ping", "not a JSON object"),
    "a number": (1, "not a JSON object"),
    "a list": ([], "not a JSON object"),
    "a batch": ([PAYMENT], "not a JSON object"),
    "no records": ({"Records": []}, "'Records'"),
    "records of nobody": ({"Records": [{"cf": {}}, None, 1]}, "'Records'"),
    "a source that is no text": ({"EventSource": True}, "'EventSource'"),
    "records that are no list": ({"Records": {"eventSource": 1}}, "'Records'"),
    "an event of a bus": ({**EVENTBRIDGE, "source": "shop.payments"}, "'detail-type'"),
    "an event of a service": ({**EVENTBRIDGE, "source": "aws.s3"}, "'detail-type'"),
    "a source of no name": ({**EVENTBRIDGE, "source": ["aws.events"]}, "'source'"),
    "a log subscription": ({"awslogs": {"data": "H4sI"}}, "'awslogs'"),
    "a delivery stream": ({"invocationId": "i", "records": [{"recordId": "1", "data": "e30="}]}, "'records'"),
    "a deployment's hook": ({"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "e"}, "'DeploymentId'"),
    "a trigger of Cognito": ({"version": "1", "triggerSource": "PreSignUp_SignUp"}, "'triggerSource'"),
    "a REST API's authorizer": (
        {"type": "REQUEST", "methodArn": "arn:aws:x", "resource": "/predict", "path": "/predict", "httpMethod": "POST"}
        | {"headers": {}, "requestContext": {"path": "/prod/predict", "stage": "prod"}},
        "'methodArn'",
    ),
    "an HTTP API's authorizer": (
        {"version": "2.0", "type": "REQUEST", "routeArn": "arn:aws:x", "rawPath": "/predict", "headers": {}}
        | {"requestContext": {"http": {"method": "POST", "path": "/predict", "sourceIp": "192.0.2.1"}}},
        "'routeArn'",
    ),
    "a websocket": (
        {"requestContext": {"routeKey": "$connect", "eventType": "CONNECT", "connectionId": "c="}},
        "'requestContext'",
    ),
    "no context": ({"requestContext": None}, "'requestContext'"),
    "an empty context": ({"requestContext": {}, "path": "/predict"}, "'requestContext', 'path'"),
    "a warm-up that is off": ({"warmup": False}, "'warmup'"),
    "many keys": ({f"key_{number}": 1 for number in range(20)}, "'key_11', 8 more"),
    "a long key of many lines": ({"a\n" * 500: 1}, f"the key '{'a\\n' * 20}';"),
    "a load balancer's without a path": ({"requestContext": {"elb": {}}, "httpMethod": "GET"}, "(KeyError)"),
    "an HTTP API's without a method": ({"version": "2.0", "requestContext": {"http": {}}}, "(KeyError)"),
    "a path that is none": ({"method": "GET", "raw_path": 1}, "(AttributeError)"),
}


def as_records(name: str, *, key: str = "eventSource") -> dict[str, Any]:
    """An event with one record of a source."""
    return {"Records": [{"messageId": "1", "body": TEXT, key: name}]}


RECORDS: dict[str, Any] = {
    "aws:sqs": as_records("aws:sqs"),
    "aws:sns": as_records("aws:sns", key="EventSource"),
    "aws:s3": as_records("aws:s3"),
    "aws:ses": as_records("aws:ses"),
    "aws:kinesis": as_records("aws:kinesis"),
    "aws:dynamodb": as_records("aws:dynamodb"),
    "aws:codecommit": as_records("aws:codecommit"),
    "aws:pipe": [{"messageId": "1", "body": TEXT, "eventSource": "aws:pipe"}],
    "aws:kafka": {"eventSource": "aws:kafka", "records": {"payments-0": [{"value": "e30="}]}},
    "aws:rmq": {"eventSource": "aws:rmq", "rmqMessagesByQueue": {"payments::/": [{"data": "e30="}]}},
}

WARM_UPS: list[dict[str, Any]] = [
    {**EVENTBRIDGE, "detail-type": "Scheduled Event", "source": "aws.events", "detail": {}},
    {**EVENTBRIDGE, "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": "{}"},
    {"source": "serverless-plugin-warmup"},
    {"source": "serverless-plugin-warmup", "warmup": True, "concurrency": 2},
    {"warmer": True, "concurrency": 3},
    {"warmup": True},
    {"warmUp": "true"},
    {"keep-warm": 1},
]


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_a_request_is_refused_logged_and_named(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A 400 with the keys that were found and the kinds that are read; one line in the log, without any value."""
    event, word = UNREAD[name]
    answer = handler(event, None)
    detail = json.loads(answer["body"])["detail"]
    assert answer["statusCode"] == 400
    assert all(text in detail for text in (word, *KINDS))
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (logging.WARNING, detail)
    assert "\n" not in detail
    assert len(detail) < 500
    assert not any(value in detail for value in ("950", "ETH", "shop.payments"))


@pytest.mark.parametrize("source", RECORDS)
def test_records_fail_the_invocation(source: str, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a queue would not keep its messages, and a topic or bucket would not send its event again."""
    with pytest.raises(UnreadRecordsError) as caught:
        handler(RECORDS[source], None)
    sentence = str(caught.value)
    assert f"records of '{source}' cannot be scored; the invocation fails" in sentence
    assert all(kind in sentence for kind in KINDS)
    assert caplog.messages == [sentence]
    assert "950" not in sentence


@pytest.mark.parametrize("event", WARM_UPS, ids=json.dumps)
def test_a_warm_up_is_answered(event: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """It may come from a schedule or another tool, and is not logged as an event that cannot be read."""
    answer = handler(event, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"detail": "warm"})
    assert not caplog.records
