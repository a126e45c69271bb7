"""The changes by which a later contract breaks the promised one, and those by which it does not."""

import json
from datetime import date
from math import ceil, floor
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import ValidationError

from handler.releases.compatibility import breaking_changes
from handler.scoring.contract import Contract, request_model
from handler.scoring.fields import LARGEST_NUMBER, NUMERIC_TYPES, STRING_TYPES, DeclaredField
from handler.scoring.scorer import Scorer

TEXT = {"type": "text", "categories": "group", "catalogue": "data/groups.csv"}
FIELDS: dict[str, Any] = {
    "amount": {"type": "money", "min": 0, "max": 1000, "required": True},
    "ratio": {"type": "number", "min": -1},
    "orders": {"type": "count", "alias": "nOrders"},
    "country": {"type": "category", "max_length": 2},
    "note": {**TEXT, "max_length": 100},
    "is_new": {"type": "flag"},
}
REQUEST: dict[str, Any] = {"amount": 1}


def contract(fields: dict[str, Any] | None = None, **changes: Any) -> Contract:  # noqa: ANN401 - keys of a contract
    """A contract with changes; a field given as None is not among its fields."""
    kept = {name: field for name, field in {**FIELDS, **(fields or {})}.items() if field}
    declared = {"route": "/score", "answer": "decision", "id": "payment_id", "fields": kept, "features": {}}
    declared |= {"time": "at"} if any(field["type"] in {"date", "key"} for field in kept.values()) else {}
    if keys := [name for name, field in kept.items() if field["type"] == "key"]:
        events = {"events": {"entity": "card", "take": "count", "over": "24h"}}
        declared |= {"history": {"entities": {"card": {"key": keys}}, "features": events}}
    declared |= changes
    return Contract.model_validate(declared, strict=False)


PROMISED = contract()


def changed(name: str, **keys: object) -> Contract:
    """The promised contract with other keys of one field."""
    return contract({name: {**FIELDS[name], **keys}})


def accepts(contract: Contract, request: dict[str, Any]) -> bool:
    """Whether a request is valid under a contract."""
    try:
        request_model("payment", contract).model_validate_json(json.dumps(request))
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("offered", "phrase"),
    [
        (contract(route="/elsewhere"), "its route is '/elsewhere', not '/score'"),
        (contract(answer="probability"), "its kind of answer is 'probability', not 'decision'"),
        (contract(id="order_id"), "its id is 'order_id', not 'payment_id'"),
        (contract(id=None), "its id is None, not 'payment_id'"),
    ],
)
def test_another_route_answer_or_id_is_a_breaking_change(offered: Contract, phrase: str) -> None:
    """Callers depend on each of them."""
    assert breaking_changes(PROMISED, offered) == [phrase]


@pytest.mark.parametrize(
    ("offered", "phrase", "lost"),
    [
        (contract({"ratio": None}), "it does not accept ratio", {"ratio": 1}),
        (contract({"orders": {"type": "count"}}), "it does not accept nOrders", {"nOrders": 1}),
        (contract({"city": {"type": "category", "required": True}}), "it requires city", {}),
        (contract({"city": {"type": "flag", "alias": "isCity", "required": True}}), "it requires isCity", {}),
        (changed("ratio", required=True), "it requires ratio", {}),
        (changed("country", required=True), "it requires country", {}),
        (changed("is_new", required=True), "it requires is_new", {}),
        (changed("country", max_length=1), "its country has at most 1 characters, not 2", {"country": "NA"}),
        (changed("note", max_length=99), "its note has at most 99 characters, not 100", {"note": "n" * 100}),
        (changed("amount", min=0.5), "its amount has a minimum of 0.5, not 0", {"amount": 0}),
        (changed("ratio", min=0), "its ratio has a minimum of 0, not -1", {"ratio": -1}),
        (changed("orders", min=1), "its nOrders has a minimum of 1, not 0", {"nOrders": 0}),
        (changed("amount", max=999), "its amount has a maximum of 999, not 1000", {"amount": 1000}),
        (changed("ratio", max=7), "its ratio has a maximum of 7, not 1e+15", {"ratio": LARGEST_NUMBER}),
        (changed("ratio", type="count", min=None), "its ratio is a count, not a number", {"ratio": -1}),
        (changed("amount", type="count"), "its amount is a count, not a money", {"amount": 0.5}),
        (changed("orders", type="flag"), "its nOrders is a flag, not a count", {"nOrders": 3}),
        (changed("orders", type="category"), "its nOrders is a category, not a count", {"nOrders": 3}),
        (changed("country", type="flag"), "its country is a flag, not a category", {"country": "NA"}),
        (contract({"note": {"type": "number"}}), "its note is a number, not a text", {"note": "n"}),
        (changed("is_new", type="count"), "its is_new is a count, not a flag", {"is_new": True}),
        (changed("is_new", type="category"), "its is_new is a category, not a flag", {"is_new": True}),
    ],
)
def test_a_refused_request_is_a_breaking_change(offered: Contract, phrase: str, lost: dict[str, Any]) -> None:
    """The change is one phrase, and a request that was valid is refused."""
    request = {**REQUEST, **lost}
    assert breaking_changes(PROMISED, offered) == [phrase]
    assert (accepts(PROMISED, request), accepts(offered, request)) == (True, False)


DATE = {"opened": {"type": "date"}}
HOUR = {"hour": {"hour_of_day": "at"}}


@pytest.mark.parametrize(
    ("offered", "phrase", "lost"),
    [
        (contract(), "it does not accept at", {"at": "2026-01-01"}),
        (contract(features={"hour": {"hour_of_day": "time"}}, time="time"), "it does not accept at", {"at": 0}),
    ],
)
def test_a_time_that_is_accepted_no_longer_is_a_breaking_change(
    offered: Contract, phrase: str, lost: dict[str, Any]
) -> None:
    """The phrase names the time's key. Accepting a time breaks nothing, because it is optional."""
    promised = contract(features=HOUR, time="at")
    assert breaking_changes(promised, offered) == [phrase]
    assert (accepts(promised, REQUEST | lost), accepts(offered, REQUEST | lost)) == (True, False)
    assert breaking_changes(PROMISED, promised) == []
    assert breaking_changes(promised, contract(DATE, features=HOUR)) == []


def test_a_date_stays_a_date() -> None:
    """A category would accept its text, but mean something else."""
    promised, offered = contract(DATE), contract({"opened": {"type": "category"}}, features=HOUR, time="at")
    assert breaking_changes(promised, offered) == ["its opened is a category, not a date"]


@pytest.mark.parametrize(
    ("offered", "gained"),
    [
        (contract({"city": {"type": "category"}}), {"city": "Rome"}),
        (changed("amount", required=False), {"amount": None}),
        (changed("country", max_length=3), {"country": "NAM"}),
        (changed("amount", min=-5), {"amount": -5}),
        (changed("amount", max=2000), {"amount": 2000}),
        (changed("ratio", min=None), {"ratio": -2}),
        (changed("amount", max=None), {"amount": LARGEST_NUMBER}),
        (changed("orders", type="number"), {"nOrders": 0.5}),
        (changed("orders", type="money"), {"nOrders": 0.5}),
    ],
)
def test_accepting_more_is_compatible(offered: Contract, gained: dict[str, Any]) -> None:
    """A request that was refused is valid now."""
    request = {**REQUEST, **gained}
    assert breaking_changes(PROMISED, offered) == []
    assert (accepts(PROMISED, request), accepts(offered, request)) == (False, True)


@pytest.mark.parametrize(
    "offered",
    [
        changed("amount", type="number"),
        changed("ratio", type="money"),
        changed("note", type="category", categories=None, catalogue=None),
        contract({"country": {**TEXT, "max_length": 2, "categories": "region"}}),
        changed("amount", unit="EUR", monotone="increasing"),
        changed("country", min_rows=1),
        changed("note", categories="other_group", catalogue="data/other.csv"),
        contract({"orders": None, "n_orders": {"type": "count", "alias": "nOrders"}}),
        contract(features={"share": {"ratio": ["amount", "orders"], "unit": "USD"}}),
        contract(fields=dict(reversed(FIELDS.items()))),
    ],
    ids=["money", "number", "text", "category", "unit", "rows", "catalogue", "name", "features", "order"],
)
def test_what_no_caller_notices_is_compatible(offered: Contract) -> None:
    """Such as how a value is encoded, units, and the order and the names of columns."""
    assert breaking_changes(PROMISED, offered) == []


def test_every_breaking_change_is_listed() -> None:
    """Route first, then the promised fields in their order, then newly required ones."""
    offered = contract(
        {
            "ratio": None,
            "country": {"type": "category", "max_length": 1, "required": True},
            "city": {"type": "category", "required": True},
        },
        route="/elsewhere",
    )
    assert breaking_changes(PROMISED, offered) == [
        "its route is '/elsewhere', not '/score'",
        "it does not accept ratio",
        "it requires country",
        "its country has at most 1 characters, not 2",
        "it requires city",
    ]


def test_the_shipped_contracts_are_compatible_with_themselves_alone(refund: Scorer, transaction: Scorer) -> None:
    """Nearly everything is different between the two scorers."""
    for scorer in (refund, transaction):
        assert breaking_changes(scorer.contract, scorer.contract) == []
    assert {
        "it does not accept yearsActive",
        "it requires chain",
        "its id is 'transaction_id', not 'refund_id'",
    } <= set(breaking_changes(refund.contract, transaction.contract))


KINDS = st.sampled_from([*NUMERIC_TYPES, *STRING_TYPES, "flag", "date"])
LOWEST = st.sampled_from([-3.5, -1.0, 0.0, 0.25, 0.5, None])
HIGHEST = st.sampled_from([1.0, 1.5, 2.0, 7.5, 1e15, 1e20, None])


@st.composite
def declared_fields(draw: st.DrawFn, kinds: st.SearchStrategy[str] = KINDS) -> dict[str, Any]:
    """A field of any type, with limits that values often reach."""
    kind = draw(kinds)
    keys: dict[str, Any] = {"type": kind, "required": draw(st.booleans()) if kind != "audit" else False}
    if kind in NUMERIC_TYPES:
        keys |= {"min": draw(LOWEST), "max": draw(HIGHEST)}
    elif kind in STRING_TYPES:
        keys["max_length"] = draw(st.integers(1, 4))
    return {**TEXT, **keys} if kind == "text" else keys


@st.composite
def later_fields(draw: st.DrawFn, promised: dict[str, Any]) -> dict[str, Any]:
    """Another field, of the same type or of one that might accept its values, with some keys unchanged."""
    alike = NUMERIC_TYPES if promised["type"] in NUMERIC_TYPES else (promised["type"], *STRING_TYPES)
    other = draw(declared_fields(st.sampled_from(alike)))
    kept = draw(st.sets(st.sampled_from(["required", "min", "max", "max_length"])))
    later = other | {key: promised[key] for key in kept & promised.keys() & other.keys()}
    return later | ({"required": False} if later["type"] == "audit" else {})


def values_of(field: DeclaredField) -> st.SearchStrategy[Any]:
    """The values that are valid in a field, its limits above all."""
    if field.type == "flag":
        return st.booleans()
    if field.type == "date":
        return st.dates(date(1899, 1, 1), date(2026, 1, 1)).map(date.isoformat)
    if field.type == "key":
        return st.text(max_size=field.max_length) | st.integers()
    if field.type in STRING_TYPES:
        return st.text(min_size=1, max_size=field.max_length) | st.just("x" * field.max_length)
    ends = [field.lowest, field.highest, ceil(field.lowest), floor(field.highest)]
    return st.sampled_from(ends) | st.floats(field.lowest, field.highest)


@given(data=st.data())
def test_without_a_breaking_change_every_valid_request_stays_valid(data: st.DataObject) -> None:
    """For a field of any type and any change of it."""
    promised = data.draw(declared_fields())
    offered = data.draw(later_fields(promised))
    # Beside a field that every model can read.
    others = {name: None for name in FIELDS if name != "is_new"}
    before, after = contract({**others, "value": promised}), contract({**others, "value": offered})
    value = data.draw(st.none() | values_of(before.fields["value"]))
    request = {} if value is None else {"value": value}
    if breaking_changes(before, after) or not accepts(before, request):
        event("a promise is broken, or the request is not valid")
        return
    event("stays valid")
    assert accepts(after, request)
