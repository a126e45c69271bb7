"""Describes an event that cannot be read, in a sentence. Imported when one arrives, not at every cold start."""

from typing import Any

from handler.web.gateway import NotHttpError

_KINDS = (
    "the function reads requests of HTTP API, REST API, Function URL, ALB and VPC Lattice, schedules and warm-up calls"
)
# An event's keys tell what it is; its values may be personal.
_MAX_KEYS, _MAX_LENGTH = 12, 40


class UnreadRecordsError(ValueError):
    """Raised when an event holds records of a queue, topic, stream or bucket.

    The function does not catch it: the invocation must fail, because an answer would tell the sender that the records
    were processed.
    """


def unread_problem(event: Any, error: Exception) -> ValueError:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """What is wrong with an event whose reading raised `error`: an UnreadRecordsError, or a ValueError to be answered.

    The error's own text is left out, because it may quote the request.
    """
    if not isinstance(error, NotHttpError):
        return ValueError(f"not a well-formed HTTP event ({type(error).__name__}): {_keys(event)}; {_KINDS}")
    if source := _record_source(event):
        return UnreadRecordsError(
            f"records of {source} cannot be scored; the invocation fails, so that they are kept or sent again; {_KINDS}"
        )
    return ValueError(f"not an HTTP event: {_keys(event)}; {_KINDS}")


def _keys(event: Any) -> str:  # noqa: ANN401 - see above
    if not isinstance(event, dict):
        return "it is not a JSON object"
    if not event:
        return "it has no keys"
    keys = [ascii(key[:_MAX_LENGTH]) for key in event]
    if len(keys) > _MAX_KEYS:
        keys[_MAX_KEYS:] = [f"{len(keys) - _MAX_KEYS} more"]
    return f"it has the {'key' if len(keys) == 1 else 'keys'} {', '.join(keys)}"


def _record_source(event: Any) -> str | None:  # noqa: ANN401 - see above
    """What sent an event's records, such as aws:sqs; None if it has none.

    SQS, SNS, S3, SES, Kinesis and DynamoDB send them as Records, EventBridge Pipes as a bare list; Kafka, MQ and
    DocumentDB name the source beside them.
    """
    records = event.get("Records") if isinstance(event, dict) else event
    for item in (event, *records) if isinstance(records, list) else (event,):
        source = (item.get("eventSource") or item.get("EventSource")) if isinstance(item, dict) else None
        if source and isinstance(source, str):
            return ascii(source[:_MAX_LENGTH])
    return None
