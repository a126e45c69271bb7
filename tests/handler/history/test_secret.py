"""Keys kept in AWS are read from the service that the ARN names; errors do not quote their content."""

import json
from typing import Any

import pytest

from handler.history.secret import read_secret
from handler.settings import Settings
from tests.handler.history.test_aws import KEYS, Service, service

SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:fraud/key-a1B2c3"  # noqa: S105 - its name
PARAMETER = "arn:aws:ssm:eu-west-1:123456789012:parameter/fraud/key"


def environment(server: Service) -> dict[str, str]:
    """The environment of a function whose AWS services are all this server."""
    return {**KEYS, "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": server.address}


@pytest.mark.parametrize(
    ("arn", "answer", "operation", "sent"),
    [
        (SECRET, {"SecretString": "the key"}, "secretsmanager.GetSecretValue", {"SecretId": SECRET}),
        (
            PARAMETER,
            {"Parameter": {"Value": "the key"}},
            "AmazonSSM.GetParameter",
            {"Name": PARAMETER, "WithDecryption": True},
        ),
    ],
)
def test_the_key_is_read(arn: str, answer: dict[str, Any], operation: str, sent: dict[str, Any]) -> None:
    """One signed call in the ARN's region reads it."""
    with service((200, answer)) as server:
        assert read_secret(arn, environment(server)) == b"the key"
        ((_, headers, body),) = server.asked
    assert (headers["x-amz-target"], json.loads(body)) == (operation, sent)
    assert headers["content-type"] == "application/x-amz-json-1.1"
    assert "/eu-west-1/" in headers["authorization"]


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (400, {"__type": "AccessDeniedException", "message": "no"}, "cannot be read: AccessDeniedException"),
        (400, {"__type": "com.amazonaws#ResourceNotFoundException"}, "cannot be read: ResourceNotFoundException"),
        (200, {"SecretString": ""}, "holds no text; put the key there as plain text"),
        (200, {"SecretBinary": "c2VjcmV0"}, "holds no text; put the key there as plain text"),
        (200, ["secret"], "holds no text; put the key there as plain text"),
    ],
)
def test_what_cannot_be_read(status: int, answer: Any, message: str) -> None:  # noqa: ANN401 - any JSON
    """A key may be missing, forbidden, empty or no text: the error has the ARN and AWS's error code, if any."""
    with service((status, answer)) as server, pytest.raises(ValueError, match=message) as refused:
        read_secret(SECRET, environment(server))
    assert str(refused.value).startswith(SECRET)
    assert "c2VjcmV0" not in str(refused.value)


def test_settings_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings read the key from its ARN, if they have one. A key that is too long for the table's hash is refused."""
    settings = Settings.from_environment({"PREDICTIONS_KEY": "own", "HISTORY_KEY_ARN": SECRET})
    assert settings.key("predictions_key") == b"own"
    with service((200, {"SecretString": "kept"}), (200, {"SecretString": "x" * 65})) as server:
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        assert settings.key("history_key") == b"kept"
        with pytest.raises(ValueError, match=r"^HISTORY_KEY_ARN: it has 65 bytes; it must have at most 64"):
            settings.key("history_key")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"PREDICTIONS_KEY": "own", "PREDICTIONS_KEY_ARN": SECRET},
            "^PREDICTIONS_KEY and PREDICTIONS_KEY_ARN are",
        ),
        (
            {"HISTORY_KEY_ARN": "arn:aws:s3:::bucket"},
            "^HISTORY_KEY_ARN is 'arn:aws:s3:::bucket'; it must be the ARN",
        ),
    ],
)
def test_impossible_settings(given: dict[str, str], message: str) -> None:
    """They stop the start with a sentence."""
    with pytest.raises(ValueError, match=message):
        Settings.from_environment(given)
