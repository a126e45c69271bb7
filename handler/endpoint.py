"""The ASGI endpoint of a scorer's route: read the request, have it scored, send the answer.

It reads query and body itself. Declared as FastAPI's parameters these took as long again as the model does, and a
number of 5,000 digits was answered with a vague 400. `handler.document` says to OpenAPI what FastAPI cannot see here.
"""

from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from pydantic import ValidationError
from pydantic_core import to_json

from handler.body import read_body
from handler.scorer import Scorer
from handler.startup import HTTPException
from handler.telemetry import Meter

# Some 175 bytes each; Lambda takes answers of up to 6 MB.
MAX_REASONS = 20_000


class ScoreEndpoint:
    """Answers one request of a scorer, or a batch of them.

    A class, not a function, because Starlette hands an object the bare ASGI call, without a Request and its wrapping.
    """

    def __init__(self, scorer: Scorer, meter: Meter | None, *, is_batch: bool) -> None:
        """Choose what parses, scores and counts; `meter` is None where nothing is to be counted."""
        self._validate: Callable[[bytes | bytearray], Any]
        self._answer: Callable[..., Any]
        if is_batch:
            self._validate, self._answer = scorer.batch.validate_json, scorer.answers
        else:
            self._validate, self._answer = scorer.request_model.model_validate_json, scorer.answer
        self._is_batch = is_batch
        self._verdict = scorer.verdict
        self._max_explained = MAX_REASONS // len(scorer.bundle.features.names)
        self._meter = meter

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        """Send the answer; raises HTTPException for what is not one to be scored."""
        explain = _is_explained(scope["query_string"])
        request = _parsed(self._validate, await read_body(scope, receive))
        if explain and self._is_batch and len(request) > self._max_explained:
            raise _refusal(
                "body", f"With explain=true a batch may hold at most {self._max_explained} requests", "too_long"
            )
        answer = self._answer(request, explain=explain)
        # Lambda passes a context; the request that warms the function up at its start has none, and is not counted.
        if self._meter and (context := scope.get("aws.context")):
            answers = answer if self._is_batch else [answer]
            self._meter.record(context, len(answers), sum(one[self._verdict] for one in answers))
        content = to_json(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _is_explained(query: bytes) -> bool:
    """The query parameter `explain`; 422 where it is neither true nor false."""
    if not query:
        return False
    value = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("explain", ["false"])[-1]
    if value not in {"true", "false"}:
        raise _refusal("query", "Input should be true or false", "bool_parsing", "explain")
    return value == "true"


def _refusal(place: str, message: str, kind: str, *names: str) -> HTTPException:
    """The 422 for one problem, in pydantic's shape."""
    return HTTPException(422, [{"loc": [place, *names], "msg": message, "type": kind}])


def _parsed[T](validate: Callable[[bytes | bytearray], T], body: bytes | bytearray) -> T:
    """The body as the contract's model; 422 with where and what, but never the value, which may be personal."""
    try:
        return validate(body)
    except ValidationError as error:
        detail = [
            {"loc": ["body", *problem["loc"]], "msg": problem["msg"], "type": problem["type"]}
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise HTTPException(422, detail) from error
