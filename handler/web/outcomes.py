"""The route that records outcomes: whether scored requests turned out to be fraud."""

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
    """Whether a scored request turned out to be fraud."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scorer: str
    id: Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, description="as in the request")]
    label: Annotated[bool | Literal[0, 1], Field(description="whether it was fraud")]


class Recorded(BaseModel):
    """How many outcomes were recorded."""

    recorded: int


def outcome_model(scorers: Collection[str]) -> type[Outcome]:
    """The model of an outcome of one of these scorers."""
    names: Any = Literal[*sorted(scorers)]
    return create_model("Outcome", __base__=Outcome, scorer=(names, ...))


class OutcomeEndpoint:
    """The ASGI endpoint that records outcomes."""

    def __init__(self, scorers: Collection[str], recorder: Recorder | None) -> None:
        """Record outcomes of these scorers; without a recorder they are refused, because they would be lost."""
        self._scorers, self._recorder = scorers, recorder

    @cached_property
    def _adapter(self) -> TypeAdapter[list[Outcome]]:
        """Built at its first use, not at every cold start."""
        return outcomes_adapter(self._scorers)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        """Record the outcomes and send their number; raises HTTPException if they cannot be recorded."""
        outcomes = parsed(self._adapter.validate_json, await read_body(scope, receive), scope["headers"])
        if self._recorder is None:
            raise HTTPException(
                409, "this deployment records nothing; set PREDICTIONS to record predictions and outcomes"
            )
        if not self._recorder.record_outcomes([(item.scorer, item.id, bool(item.label)) for item in outcomes]):
            raise HTTPException(503, "the outcomes could not be recorded; send them again later")
        answer = Response(to_json(Recorded(recorded=len(outcomes))), media_type="application/json")
        await answer(scope, receive, send)


def outcomes_adapter(scorers: Collection[str]) -> TypeAdapter[list[Outcome]]:
    """The parser of a body of outcomes of these scorers: a JSON array."""
    outcomes: Any = Annotated[list[outcome_model(scorers)], Field(min_length=1, max_length=MAX_BATCH)]  # type: ignore[misc]  # made at run time
    return TypeAdapter(outcomes)
