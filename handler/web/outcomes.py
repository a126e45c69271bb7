"""The route that records outcomes: whether scored requests turned out to be fraud."""

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from functools import cached_property
from time import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, WithJsonSchema, create_model
from pydantic_core import PydanticCustomError, to_json
from starlette.responses import Response

from handler.records.record import INCONCLUSIVE, Recorder
from handler.releases.served import Slot
from handler.scoring.contract import MAX_BATCH, MAX_ID_LENGTH, Source
from handler.web.body import parsed, read_body
from handler.web.startup import HTTPException

if TYPE_CHECKING:
    from handler.history.store import PastStore


def _seconds_at(value: object) -> float | None:
    """The time of an outcome in seconds; refused for the same reasons as the time of a request."""
    from handler.scoring.times import seconds_of_time  # noqa: PLC0415 - many deployments never need it

    return None if value is None else seconds_of_time(value, time())


def _known_label(value: object) -> object:
    """A label; one error if it is invalid, instead of one for each type that it might have had."""
    if value == INCONCLUSIVE or (isinstance(value, int | float) and value in {0, 1}):
        return value
    raise PydanticCustomError("outcome_label", "Input should be true, false, 0, 1 or 'inconclusive'")


_LABEL_SCHEMA = {"anyOf": [{"type": "boolean"}, {"enum": [0, 1, INCONCLUSIVE]}]}
_AT_SCHEMA = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}, {"type": "null"}]}
MAX_BY_LENGTH, MAX_NOTE_LENGTH = 128, 1000


class Outcome(BaseModel):
    """Whether a scored request turned out to be fraud, and how that is known."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scorer: str
    id: Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, description="as in the request")]
    label: Annotated[
        bool | Literal[0, 1, "inconclusive"],
        PlainValidator(_known_label),
        WithJsonSchema(_LABEL_SCHEMA),
        Field(description="whether it was fraud"),
    ]
    source: Annotated[Source | None, Field(description="how it is known")] = None
    by: Annotated[str, Field(min_length=1, max_length=MAX_BY_LENGTH)] | None = None
    """Who reports it; a staff number is better than a name."""
    at: Annotated[float | None, PlainValidator(_seconds_at), WithJsonSchema(_AT_SCHEMA)] = None
    """When it became known; by default, when it is sent."""
    note: Annotated[str, Field(min_length=1, max_length=MAX_NOTE_LENGTH)] | None = None

    @property
    def is_fraud(self) -> bool | None:
        """Whether it was fraud; None if the outcome is inconclusive."""
        return None if self.label == INCONCLUSIVE else bool(self.label)

    @property
    def details(self) -> dict[str, Any]:
        """What else was sent, for the record."""
        return {name: value for name in ("source", "by", "at", "note") if (value := getattr(self, name)) is not None}


class Recorded(BaseModel):
    """How many outcomes were recorded."""

    recorded: int


def outcome_model(scorers: Collection[str]) -> type[Outcome]:
    """The model of an outcome of one of these scorers."""
    names: Any = Literal[*sorted(scorers)]
    return create_model("Outcome", __base__=Outcome, scorer=(names, ...))


class OutcomeEndpoint:
    """The ASGI endpoint that records outcomes."""

    def __init__(
        self, slots: Mapping[str, Slot], recorder: Recorder | None, history: "PastStore | None" = None
    ) -> None:
        """Record outcomes of these scorers, and pass frauds to the history if a feature reads them.

        If neither is possible, outcomes are refused, because they would be lost.
        """
        self._slots, self._recorder, self._history = slots, recorder, history

    @cached_property
    def _adapter(self) -> TypeAdapter[list[Outcome]]:
        """The parser of a body, built at its first use, not at every cold start."""
        return outcomes_adapter(self._slots)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's callables
        """Record the outcomes and send their number; raises HTTPException if they cannot be recorded."""
        outcomes = parsed(self._adapter.validate_json, await read_body(scope, receive), scope["headers"])
        is_remembered = self._remember(outcomes)
        if self._recorder is None and is_remembered is None:
            raise HTTPException(
                409, "this deployment records nothing; set PREDICTIONS to record predictions and outcomes"
            )
        triples = [(item.scorer, item.id, item.is_fraud) for item in outcomes]
        details = [item.details for item in outcomes]
        if is_remembered is False or (self._recorder and not self._recorder.record_outcomes(triples, details)):
            raise HTTPException(503, "the outcomes could not be recorded; send them again later")
        answer = Response(to_json(Recorded(recorded=len(outcomes))), media_type="application/json")
        await answer(scope, receive, send)

    def _remember(self, outcomes: Sequence[Outcome]) -> bool | None:
        """Whether the history took the frauds; None if no feature reads them, or no history is configured."""
        if self._history is None:
            return None
        answers = []
        for name, slot in self._slots.items():
            past = slot.served.scorer.past
            if past and past.has_frauds:
                ids = [item.id for item in outcomes if item.scorer == name and item.is_fraud]
                answers.append(self._history.add_outcomes(past, ids) if ids else True)
        return all(answers) if answers else None


def outcomes_adapter(scorers: Collection[str]) -> TypeAdapter[list[Outcome]]:
    """The parser of a body of outcomes of these scorers: a JSON array."""
    outcomes: Any = Annotated[list[outcome_model(scorers)], Field(min_length=1, max_length=MAX_BATCH)]  # type: ignore[misc]  # made at run time
    return TypeAdapter(outcomes)
