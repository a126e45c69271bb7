"""Outcomes: what became of requests that were scored, as the same kind of lines as their predictions."""

from collections.abc import Collection, MutableMapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic_core import to_json
from starlette.responses import Response

from handler.records.record import Recorder
from handler.scoring.contract import MAX_BATCH, MAX_ID_LENGTH
from handler.web.body import read_body
from handler.web.endpoint import parsed
from handler.web.startup import HTTPException


class Outcome(BaseModel):
    """What a request turned out to be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scorer: str
    id: Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, description="as in the request")]
    label: Annotated[bool | Literal[0, 1], Field(description="whether it was fraud")]


class Recorded(BaseModel):
    """How many outcomes were recorded."""

    recorded: int


def outcome_model(scorers: Collection[str]) -> type[Outcome]:
    """The model of an outcome of one of these scorers."""
    named: Any = Literal[*sorted(scorers)]
    return create_model("Outcome", __base__=Outcome, scorer=(named, ...))


class OutcomeEndpoint:
    """Answers the route that takes outcomes."""

    def __init__(self, scorers: Collection[str], recorder: Recorder | None) -> None:
        """Take outcomes of these scorers; without a recorder they are refused, because nobody would ever read them."""
        self._scorers, self._recorder = scorers, recorder

    @cached_property
    def _several(self) -> TypeAdapter[list[Outcome]]:
        """Made when it is first needed, not at every cold start."""
        return outcomes_of(self._scorers)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        """Record them, and send how many there were; raises HTTPException for what cannot be recorded."""
        told = parsed(self._several.validate_json, await read_body(scope, receive))
        if self._recorder is None:
            raise HTTPException(409, "this deployment records nothing; with PREDICTIONS it records outcomes too")
        if not self._recorder.record_outcomes([(one.scorer, one.id, bool(one.label)) for one in told]):
            raise HTTPException(503, "the outcomes could not be recorded; send them again later")
        answer = Response(to_json(Recorded(recorded=len(told))), media_type="application/json")
        await answer(scope, receive, send)


def outcomes_of(scorers: Collection[str]) -> TypeAdapter[list[Outcome]]:
    """What reads a body of outcomes of these scorers: an array of them."""
    several: Any = Annotated[list[outcome_model(scorers)], Field(min_length=1, max_length=MAX_BATCH)]  # type: ignore[misc]  # made at run time
    return TypeAdapter(several)
