"""The ASGI endpoint of a scorer's route: read the request, score it, send the answer.

It reads query and body without FastAPI's parameters (`handler.web.body` says why). `handler.web.document` describes the
endpoint for OpenAPI.
"""

import os
from collections.abc import MutableMapping, Sequence
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

from pydantic import BaseModel
from pydantic_core import to_json

from handler.records.logs import write
from handler.records.record import Recalled, Recorder
from handler.records.telemetry import TRACE_VARIABLE, Meter, record_unanswered, trace_root
from handler.releases.served import Slot
from handler.scoring.scorer import Answered, Scored, Scorer
from handler.web.body import Headers, parsed, read_body, refusal

if TYPE_CHECKING:
    from handler.history.store import PastStore
    from handler.releases.lists import Entry, Lists
    from handler.scoring.past import RequestPast
    from handler.scoring.whatif import WhatIf

# About 175 bytes each; Lambda allows answers of up to 6 MB.
MAX_REASONS = 20_000
# One what-if takes as long as several hundred requests.
MAX_WHATIF = 20
# For all searches of an invocation together; Lambda ends an invocation after ten seconds.
WHATIF_SECONDS = 5.0
# The characters that are recorded of a source id, which a caller may have made up.
LONGEST_SOURCE = 256


# The readers for whom an answer's reasons can be meant.
READERS = ("analyst", "customer", "auditor")


class QueryOptions(NamedTuple):
    """The query parameters of a request."""

    explain: bool
    whatif: bool
    reader: str


DEFAULT_OPTIONS = QueryOptions(explain=False, whatif=False, reader="analyst")


class ScoreEndpoint:
    """Answers one request of a scorer, or a batch.

    A class, because Starlette calls an object with the bare ASGI arguments, but wraps a function and builds a Request.
    """

    def __init__(
        self,
        slot: Slot,
        meter: Meter | None,
        recorder: Recorder | None,
        history: "PastStore | None" = None,
        *,
        is_batch: bool,
    ) -> None:
        """Answer with the slot's version; `meter`, `recorder`, `history` are None if they are not configured."""
        self._slot = slot
        self._history = history
        self._answered = _answered_batch if is_batch else _answered_single
        self._is_batch = is_batch
        self._meter = meter
        self._recorder = recorder

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        """Send the answer; raises HTTPException for a request that cannot be scored."""
        start, n_unanswered = perf_counter(), self._history.n_failed if self._history else 0
        options = _options_of(scope["query_string"])
        body = await read_body(scope, receive)
        # Read once, so that one version validates, scores and answers even if another is swapped in meanwhile.
        served = self._slot.served
        # The warm-up request at the start leaves no trace.
        is_written = scope.get("aws.context", True) is not None
        # Checked before the history is asked, so that a request that is refused leaves nothing there.
        whatif = _whatif_of(served.scorer) if options.whatif else None
        if options.reader == "customer" and not served.scorer.contract.customer_reasons:
            text = "This scorer declares no reasons for customers; use reader=analyst"
            raise refusal("query", text, "no_customer_reason", "reader")
        recall = Recall(served.scorer.past, self._history, is_written=is_written) if served.scorer.past else None
        control = self._recorder if served.scorer.control else None
        answer_context = AnswerContext(recall, control, served.lists, options)
        answered = self._answered(served.scorer, body, scope["headers"], answer_context)
        if whatif:
            ends = monotonic() + WHATIF_SECONDS
            for request, scored, answer in zip(*answered, strict=True):
                # A list decides whatever the score, so no what-if applies.
                if answer.get("is_flagged", answer.get("prediction")) and "list" not in answer:
                    answer["whatif"] = whatif.answer(request, scored, ends)
        answers = answered.answers
        if options.reader != DEFAULT_OPTIONS.reader:
            answers = _addressed(served.scorer, answered, options.reader)
        content = to_json(answers if self._is_batch else answers[0])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        seconds = perf_counter() - start
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        # Lambda passes a context; the warm-up request at the start has none, and is not counted.
        context = scope.get("aws.context")
        metrics = self._meter.line(context, answered, seconds) if self._meter and context else b""
        if metrics and self._history and self._history.n_failed > n_unanswered:
            record_unanswered(context, self._history.n_failed - n_unanswered)
        if self._recorder and (context or "aws.context" not in scope):
            shadowed = None
            if shadow := served.shadow:
                history, is_batch = (recall.past.id if recall else ""), self._is_batch
                scores = shadow.scores(body, is_batch=is_batch, completed=answered.requests, history=history)
                shadowed = shadow.version, scores
            recalled = recall.recalled if recall else ()
            sources = sources_of(scope, context)
            self._recorder.record(served.scorer, answered, seconds, shadowed, metrics, recalled, sources)
        elif metrics:
            write(metrics)


class Recall:
    """Completes the requests of a scorer with the features of their past."""

    def __init__(self, past: "RequestPast", history: "PastStore | None", *, is_written: bool) -> None:
        """Ask `history`, if there is one, which also remembers the requests if `is_written`."""
        self.past, self._history, self._is_written = past, history, is_written
        self.recalled: Sequence[Recalled] = ()
        """For each request, what the history was asked and what it answered; empty if there is no history."""

    def complete(self, requests: Sequence[BaseModel]) -> list[list[str]]:
        """Complete requests, and add them to the past; returns per request the features that no store answered."""
        events = [self.past.events(request) for request in requests]
        if self._history is None:
            values: list[Any] = [[None if event else [] for event in of_request] for of_request in events]
        else:
            began = time()
            values = self._history.exchange(events, is_written=self._is_written)
            ended = time()
            self.recalled = [Recalled(*of, began, ended) for of in zip(events, values, strict=True)]
        return [self.past.complete(request, of) for request, of in zip(requests, values, strict=True)]


def _warned(answers: Sequence[dict[str, Any]], unanswered: Sequence[Sequence[str]]) -> Sequence[dict[str, Any]]:
    """The answers, with a warning if features are missing because no store answered."""
    for answer, names in zip(answers, unanswered, strict=True):
        if names:
            text = f"the history did not answer, so {', '.join(names)} {'is' if len(names) == 1 else 'are'} missing"
            answer.setdefault("warnings", []).append({"field": names[0], "value": None, "sentence": text})
    return answers


def sources_of(scope: MutableMapping[str, Any], context: Any) -> dict[str, str]:  # noqa: ANN401 - Lambda's context
    """The ids of an invocation in the gateway's log, in the function's log and of its trace; none outside Lambda."""
    if context is None:
        return {}
    # Lambda's own trace first, which X-Ray knows; a gateway's header may name another, and a caller's anything.
    trace = trace_root(os.environ.get(TRACE_VARIABLE, ""))
    if not trace:
        trace = trace_root(dict(scope["headers"]).get(b"x-amzn-trace-id", b"").decode("latin-1"))
    sources = {"trace": trace} if trace else {}
    if request := getattr(context, "aws_request_id", None):
        sources["function_request"] = str(request)[:LONGEST_SOURCE]
    if request := scope.get("aws.event", {}).get("requestContext", {}).get("requestId"):
        sources["gateway_request"] = str(request)[:LONGEST_SOURCE]
    return sources


class AnswerContext(NamedTuple):
    """What an answer depends on besides the scorer and the request."""

    recall: Recall | None
    control: Recorder | None
    """The recorder, which draws the control group; None if the scorer has none, or nothing is recorded."""
    lists: "Lists | None"
    options: QueryOptions

    def shown(
        self, scorer: Scorer, requests: Sequence[BaseModel], scored: Sequence[Scored]
    ) -> tuple[Sequence[Scored], Sequence["Entry | None"]]:
        """The results that the answers show, and the list entries that overrule both the model and the control group.

        A request that the control group lets through is shown as approved.
        """
        if self.control is None and self.lists is None:
            return scored, ()
        entries = self.lists.found(requests, time()) if self.lists else ()
        every: Sequence[Entry | None] = entries or [None] * len(requests)
        return [
            entry.decided(result)
            if entry
            else result._replace(is_flagged=False, band="approve")
            if self.control and result.band == "block" and self.control.is_let_through(scorer, scorer.id_of(request))
            else result
            for request, result, entry in zip(requests, scored, every, strict=True)
        ], entries


def _listed(answers: Sequence[dict[str, Any]], entries: Sequence["Entry | None"]) -> Sequence[dict[str, Any]]:
    """The answers, with the list that decided if one did."""
    for answer, entry in zip(answers, entries, strict=False):
        if entry:
            answer["list"] = entry.told
    return answers


def _explained(
    scorer: Scorer, shown: Sequence[Scored], scored: Sequence[Scored]
) -> tuple[Sequence[Scored], Sequence[Scored]]:
    """Both, with contributions for what only a list flags: its reasons are recorded and answered like any other's."""
    shown = scorer.explained(shown)
    return shown, [
        result if result.contributions is not None else result._replace(contributions=explained.contributions)
        for result, explained in zip(scored, shown, strict=True)
    ]


def _answered_single(
    scorer: Scorer, body: bytes | bytearray, headers: Headers, answer_context: AnswerContext
) -> Answered:
    """A single request, scored and answered."""
    options = answer_context.options
    request = parsed(scorer.request_model.model_validate_json, body, headers)
    unanswered = answer_context.recall.complete((request,)) if answer_context.recall else None
    scored = scorer.score(request)
    if options.explain or scored.is_flagged:
        (scored,) = scorer.explained((scored,), every=options.explain)
    shown, entries = answer_context.shown(scorer, (request,), (scored,))
    if entries:
        shown, (scored,) = _explained(scorer, shown, (scored,))
    answers = _listed((scorer.answer(request, shown[0], explain=options.explain),), entries)
    return Answered((request,), (scored,), _warned(answers, unanswered) if unanswered else answers)


def _answered_batch(
    scorer: Scorer, body: bytes | bytearray, headers: Headers, answer_context: AnswerContext
) -> Answered:
    """A batch of requests, scored and answered."""
    options = answer_context.options
    requests = parsed(scorer.batch.validate_json, body, headers)
    max_requests = MAX_REASONS // len(scorer.bundle.features.names)
    for is_asked, name, most in ((options.explain, "explain", max_requests), (options.whatif, "whatif", MAX_WHATIF)):
        if is_asked and len(requests) > most:
            raise refusal("body", f"With {name}=true a batch may hold at most {most} requests", "too_long")
    unanswered = answer_context.recall.complete(requests) if answer_context.recall else None
    scored = scorer.explained(scorer.scores(requests), every=options.explain)
    shown, entries = answer_context.shown(scorer, requests, scored)
    if entries:
        shown, scored = _explained(scorer, shown, scored)
    answers = _listed(scorer.answers(requests, shown, explain=options.explain), entries)
    return Answered(requests, scored, _warned(answers, unanswered) if unanswered else answers)


def _options_of(query: bytes) -> QueryOptions:
    """What a query asks for; 422 if one of its parameters has an unknown value."""
    if not query:
        return DEFAULT_OPTIONS
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    switches = []
    for name in ("explain", "whatif"):
        value = given.get(name, ["false"])[-1]
        if value not in {"true", "false"}:
            raise refusal("query", "Input should be true or false", "bool_parsing", name)
        switches.append(value == "true")
    reader = given.get("reader", [DEFAULT_OPTIONS.reader])[-1]
    if reader not in READERS:
        raise refusal("query", "Input should be 'analyst', 'customer' or 'auditor'", "literal_error", "reader")
    return QueryOptions(switches[0] or reader == "auditor", switches[1], reader)


def _addressed(scorer: Scorer, answered: Answered, reader: str) -> list[dict[str, Any]]:
    """The answers with the reasons for a customer or an auditor; records keep the analyst's."""
    from handler.web.readers import for_auditors, for_customers  # noqa: PLC0415 - only such requests need it

    return for_customers(scorer, answered) if reader == "customer" else for_auditors(answered.answers)


def _whatif_of(scorer: Scorer) -> "WhatIf":
    """The search for changes that would have passed; 422 if the scorer declares no changeable field."""
    from handler.scoring.whatif import WhatIf  # noqa: PLC0415 - only requests with whatif=true need it

    if scorer.whatif is None:
        scorer.whatif = WhatIf(scorer)
    whatif: WhatIf = scorer.whatif
    if not whatif.names:
        text = "This scorer declares no changeable fields, so there is no what-if; leave whatif out"
        raise refusal("query", text, "no_changeable_field", "whatif")
    return whatif
