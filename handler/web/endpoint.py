"""The ASGI endpoint of a scorer's route: read the request, have it scored, send the answer.

It reads query and body itself. Declared as FastAPI's parameters these took as long again as the model does, and a
number of 5,000 digits was answered with a vague 400. `handler.web.document` tells OpenAPI what FastAPI cannot see.
"""

from collections.abc import Callable, MutableMapping
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

from pydantic import ValidationError
from pydantic_core import to_json

from handler.records.record import Recorder
from handler.records.telemetry import Meter, write
from handler.releases.served import Slot
from handler.scoring.scorer import Answered, Scorer
from handler.web.body import read_body
from handler.web.startup import HTTPException

# Some 175 bytes each; Lambda takes answers of up to 6 MB.
MAX_REASONS = 20_000


class ScoreEndpoint:
    """Answers one request of a scorer, or a batch of them.

    A class, not a function, because Starlette hands an object the bare ASGI call, without a Request and its wrapping.
    """

    def __init__(self, slot: Slot, meter: Meter | None, recorder: Recorder | None, *, is_batch: bool) -> None:
        """Answer by what the slot serves; `meter` and `recorder` are None where nothing is counted or recorded."""
        self._slot = slot
        self._answered = _answered_batch if is_batch else _answered_one
        self._is_batch = is_batch
        self._meter = meter
        self._recorder = recorder

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        """Send the answer; raises HTTPException for what is not one to be scored."""
        start = perf_counter()
        explain = _is_explained(scope["query_string"])
        body = await read_body(scope, receive)
        # Read once: whatever is swapped meanwhile, one version validates, scores and answers.
        served = self._slot.served
        answered = self._answered(served.scorer, body, explain=explain)
        content = to_json(answered.answers if self._is_batch else answered.answers[0])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        seconds = perf_counter() - start
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        # Lambda passes a context; the request that warms the function up at its start has none, and does not count.
        context = scope.get("aws.context")
        metrics = self._meter.line(context, answered, seconds) if self._meter and context else b""
        if self._recorder and (context or "aws.context" not in scope):
            shadow = served.shadow
            shadowed = (shadow.version, shadow.scores(body, is_batch=self._is_batch)) if shadow else None
            self._recorder.record(served.scorer, answered, seconds, shadowed, metrics)
        elif metrics:
            write(metrics)


def _answered_one(scorer: Scorer, body: bytes | bytearray, *, explain: bool) -> Answered:
    """One request."""
    request = parsed(scorer.request_model.model_validate_json, body)
    scored = scorer.score(request)
    return Answered((request,), (scored,), (scorer.answer(request, scored, explain=explain),))


def _answered_batch(scorer: Scorer, body: bytes | bytearray, *, explain: bool) -> Answered:
    """A batch."""
    requests = parsed(scorer.batch.validate_json, body)
    most = MAX_REASONS // len(scorer.bundle.features.names)
    if explain and len(requests) > most:
        raise _refusal("body", f"With explain=true a batch may hold at most {most} requests", "too_long")
    scored = scorer.scores(requests)
    return Answered(requests, scored, scorer.answers(requests, scored, explain=explain))


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


def parsed[T](validate: Callable[[bytes | bytearray], T], body: bytes | bytearray) -> T:
    """The body as the contract's model; 422 with where and what, but never the value, which may be personal."""
    try:
        return validate(body)
    except ValidationError as error:
        detail = [
            {"loc": ["body", *problem["loc"]], "msg": problem["msg"], "type": problem["type"]}
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise HTTPException(422, detail) from error
