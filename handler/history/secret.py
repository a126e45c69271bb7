"""Reads keys that Secrets Manager or Systems Manager keeps, by their ARNs: at a start, and again after a restore.

Imported only by deployments that set such an ARN.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from handler.history.aws import AwsClient, AwsError

READ_SECONDS = 2.0
# By the ARN's service: the prefix of its operations, the one that reads, its body, and the path to the text.
_READERS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "secretsmanager": ("secretsmanager", "GetSecretValue", '{"SecretId":%s}', ("SecretString",)),
    "ssm": ("AmazonSSM", "GetParameter", '{"Name":%s,"WithDecryption":true}', ("Parameter", "Value")),
}


def read_secret(arn: str, environment: Mapping[str, str] = os.environ) -> bytes:
    """The text of a secret, or of a parameter; raises ValueError if it cannot be read, or is empty.

    The message has the ARN and AWS's error code, never what was read.
    """
    _, _, service, region, *_ = arn.split(":")
    target, operation, body, place = _READERS[service]
    of_region = {**environment, "AWS_REGION": region}
    client = AwsClient(service, target, of_region, content_type="application/x-amz-json-1.1")
    try:
        (answer,) = client.call([(operation, (body % json.dumps(arn)).encode())], READ_SECONDS)
    finally:
        client.close()
    if isinstance(answer, AwsError):
        raise ValueError(f"{arn} cannot be read: {answer.code}") from answer  # noqa: TRY004 - no argument has a wrong type
    text: Any = answer
    for key in place:
        text = text.get(key) if isinstance(text, dict) else None
    if not isinstance(text, str) or not text:
        raise ValueError(f"{arn} holds no text; put the key there as plain text")
    return text.encode()
