"""The request and answer models that a declaration becomes."""

import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from handler.scoring.contract import Contract, answer_model, request_model
from handler.scoring.fields import LARGEST_NUMBER, DeclaredField

CONTRACT = Contract(
    route="/score",
    answer="probability",
    id="payment_id",
    fields={
        "amount": DeclaredField(type="money", min=0, required=True),
        "ratio": DeclaredField(type="number", min=-1, max=1),
        "orders": DeclaredField(type="count", alias="nOrders"),
        "country": DeclaredField(type="category", max_length=2),
        "is_new": DeclaredField(type="flag"),
    },
    features={},
)
REQUEST = request_model("payment", CONTRACT)
DATE = {"opened": {"type": "date", "alias": "openedOn"}}
HOUR = {"hour": {"hour_of_day": "at"}}


def parse(body: str) -> BaseModel:
    """A JSON body, parsed by the request model."""
    return REQUEST.model_validate_json(body)


def test_a_whole_request_is_read_by_name() -> None:
    """Values arrive under the fields' names, whatever the alias was."""
    request = parse('{"amount": 1, "ratio": -0.5, "nOrders": 3, "country": "NA", "is_new": true, "payment_id": "p"}')
    assert request.model_dump() == {
        "amount": 1.0,
        "ratio": -0.5,
        "orders": 3,
        "country": "NA",
        "is_new": True,
        "payment_id": "p",
    }


@pytest.mark.parametrize(("sent", "read"), [("3", 3), ("3.0", 3), ("3e2", 300), ("-0.0", 0)])
def test_a_count_may_be_written_as_a_number_with_a_point(sent: str, read: int) -> None:
    """JSON has only numbers, and a client that has its counts as floats sends 3.0."""
    request = parse(f'{{"amount": 1, "nOrders": {sent}}}')
    assert request.model_dump()["orders"] == read
    assert type(request.model_dump()["orders"]) is int


def test_the_document_has_a_counts_limits() -> None:
    """Clients are generated from the document."""
    schema = REQUEST.model_json_schema()["properties"]["nOrders"]["anyOf"][0]
    assert schema == {"type": "integer", "minimum": 0, "maximum": 10**15}


@pytest.mark.parametrize("body", ['{"amount": 1}', '{"amount": 1, "ratio": null, "nOrders": null, "is_new": null}'])
def test_an_optional_value_may_be_absent_or_null(body: str) -> None:
    """Absent and null are both missing, not zero."""
    request = parse(body)
    assert (request.model_dump()["ratio"], request.model_dump()["orders"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ('{"amount": 1, "colour": "red"}', "colour", "extra_forbidden"),
        ('{"amount": 1, "orders": 1}', "orders", "extra_forbidden"),
        ('{"ratio": 0}', "amount", "missing"),
        ('{"amount": null}', "amount", "float_type"),
        ('{"amount": "1"}', "amount", "float_type"),
        ('{"amount": true}', "amount", "float_type"),
        ('{"amount": -0.01}', "amount", "greater_than_equal"),
        ('{"amount": 1, "ratio": 1.01}', "ratio", "less_than_equal"),
        ('{"amount": NaN}', "amount", "finite_number"),
        ('{"amount": Infinity}', "amount", "finite_number"),
        ('{"amount": -Infinity}', "amount", "finite_number"),
        ('{"amount": 1e400}', "amount", "finite_number"),
        ('{"amount": ' + "9" * 400 + "}", "amount", "finite_number"),
        ('{"amount": 1, "nOrders": ' + "9" * 400 + "}", "nOrders", "less_than_equal"),
        ('{"amount": 1, "nOrders": 1.5}', "nOrders", "int_type"),
        ('{"amount": 1, "nOrders": -1}', "nOrders", "greater_than_equal"),
        ('{"amount": 1, "country": "ABC"}', "country", "string_too_long"),
        ('{"amount": 1, "country": ""}', "country", "string_too_short"),
        ('{"amount": 1, "country": 7}', "country", "string_type"),
        ('{"amount": 1, "is_new": 1}', "is_new", "bool_type"),
        ('{"amount": 1, "payment_id": 7}', "payment_id", "string_type"),
    ],
)
def test_an_invalid_value_is_refused_by_name(body: str, field: str, problem: str) -> None:
    """The error names the field and what is wrong with it."""
    with pytest.raises(ValidationError) as refused:
        parse(body)
    assert [(error["loc"], error["type"]) for error in refused.value.errors()] == [((field,), problem)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"type": "category", "min": 0}, "min and max are for number, money, count; the type here is category"),
        ({"type": "number", "min": 2, "max": 1}, "min 2 must be below max 1"),
        ({"type": "text"}, "type text needs both categories and catalogue"),
        ({"type": "number", "catalogue": "a.csv", "categories": "b"}, "type text needs both"),
        ({"type": "category", "monotone": "increasing"}, "monotone is increasing, but a category has no order; remove"),
        (
            {"type": "text", "categories": "a", "catalogue": "b", "monotone": "decreasing"},
            "monotone is decreasing, but a text has no order; remove",
        ),
        *(
            (
                {"type": kind, "private": "hash"},
                f"private: hash is for category, text, key, audit; for a {kind} it must be omit",
            )
            for kind in ("number", "money", "count", "flag", "date")
        ),
        ({"type": "date", "min": 0}, "min and max are for number, money, count; the type here is date"),
    ],
)
def test_a_field_that_contradicts_itself_is_refused(keys: dict[str, Any], message: str) -> None:
    """Each impossible combination has its own sentence."""
    with pytest.raises(ValidationError, match=message):
        DeclaredField(**keys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({"fields": {name: {"type": "number"}}}, f"fields may not be called {name}: a request model has that name")
            for name in ("_hidden", "model_dump", "copy")
        ),
        ({"id": "model_version"}, "id may not be called model_version: an answer has that key already"),
        ({"id": "b"}, "b is used twice"),
        ({"id": "key", "fields": {"a": {"type": "number", "alias": "key"}}}, "key is used twice"),
        ({"features": {"a": {"ratio": ("a", "a")}}}, "a is used twice"),
        ({"features": {"c": {"ratio": ("a", "b")}}}, r"features\.c reads b; it may read the numeric fields a"),
        ({"features": {"c": {}}}, "exactly one of ratio, product"),
        ({"features": {"c": {"ratio": ("a", "a"), "product": ("a", "a")}}}, "exactly one of ratio, product"),
        ({"features": {"c": {"ratio": ("a", "a"), "hour_of_day": "at"}}, "time": "at"}, "exactly one of ratio"),
        ({"fields": DATE}, "computed with the request's time; declare its key as time"),
        ({"features": {"c": {"hour_of_day": "at"}}}, "computed with the request's time; declare its key as time"),
        (
            {"features": {"c": {"day_of_week": "then"}}, "time": "at"},
            r"features\.c reads then; it must read the time column, at",
        ),
        ({"fields": DATE, "time": "opened"}, "opened is used twice"),
        ({"fields": DATE, "time": "openedOn"}, "openedOn is used twice"),
        ({"fields": DATE, "time": "at", "id": "at"}, "at is used twice"),
        ({"fields": DATE, "time": "copy"}, "time may not be called copy: a request model has that name already"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    """Each name means one thing, and a derived feature has one operation on numeric fields."""
    fields = {"a": {"type": "number"}, "b": {"type": "flag"}}
    declared = {"route": "/x", "answer": "decision", "id": None, "fields": fields, "features": {}}
    with pytest.raises(ValidationError, match=message):
        Contract.model_validate(declared | changes, strict=False)


@pytest.mark.parametrize(
    ("keys", "lowest", "highest"),
    [
        ({"type": "number"}, -LARGEST_NUMBER, LARGEST_NUMBER),
        ({"type": "count"}, 0, LARGEST_NUMBER),
        ({"type": "date"}, 0, LARGEST_NUMBER),
        ({"type": "money", "min": 0, "max": 9}, 0, 9),
    ],
)
def test_range_of_a_field(keys: dict[str, Any], lowest: float, highest: float) -> None:
    """A range is the declared one, else that of the type."""
    field = DeclaredField(**keys)
    assert (field.lowest, field.highest) == (lowest, highest)


def timed(**changes: Any) -> Contract:  # noqa: ANN401 - the keys of a contract
    """A contract with a date, a feature of it, and both features of the time."""
    features = {
        "hour": {"hour_of_day": "at"},
        "orders_a_day": {"ratio": ("orders", "opened")},
        "weekday": {"day_of_week": "at"},
    }
    fields = DATE | {"orders": {"type": "count"}}
    declared = {"route": "/x", "answer": "decision", "id": None, "fields": fields, "features": features, "time": "at"}
    return Contract.model_validate(declared | changes, strict=False)


def test_only_a_contract_that_reads_the_time_names_it() -> None:
    """A manifest without dates has the same bytes as before dates were supported."""
    plain = timed(fields={"a": {"type": "number"}}, features={"b": {"ratio": ("a", "a")}}, time=None)
    assert not {"time", "hour_of_day", "day_of_week"} & set(re.findall(r"\w+", plain.model_dump_json()))
    for contract in (timed(), timed(features={}), timed(fields={"a": {"type": "number"}}, features=HOUR)):
        assert contract.reads_time
        assert contract.inputs == (*contract.fields, "at")
        assert Contract.model_validate_json(contract.model_dump_json()) == contract
        assert pickle.loads(pickle.dumps(contract)) == contract  # noqa: S301 - our own bytes


NUMBERS = st.fixed_dictionaries(
    {"type": st.sampled_from(["number", "money", "count"]), "required": st.booleans()},
    optional={
        "unit": st.text(max_size=5),
        "min": st.floats(-1e9, 0),
        "max": st.floats(1, 1e9),
        "monotone": st.sampled_from(["increasing", "decreasing"]),
    },
)


@given(st.dictionaries(st.from_regex(r"[a-z]{3}_[a-z]{3}", fullmatch=True), NUMBERS, min_size=2, max_size=5))
def test_a_contract_survives_its_manifest(fields: dict[str, dict[str, Any]]) -> None:
    """The function reads from the bundle what training declared, including directions; a pickle keeps it, too."""
    first, second, *_ = fields
    contract = Contract.model_validate(
        {
            "route": "/x",
            "answer": "decision",
            "id": None,
            "fields": fields,
            "features": {"c": {"ratio": (first, second)}},
        }
    )
    assert Contract.model_validate_json(contract.model_dump_json()) == contract
    assert pickle.loads(pickle.dumps(contract)) == contract  # noqa: S301 - our own bytes


def test_a_manifest_older_than_directions_is_read() -> None:
    """A field without the key has no direction, and is not private."""
    field = DeclaredField.model_validate_json('{"type": "money", "min": 0}')
    assert (field.monotone, field.private) == (None, None)


@pytest.mark.parametrize(
    "keys",
    [
        *({"type": kind, "monotone": "decreasing"} for kind in ("number", "money", "count", "flag", "date")),
        *({"type": kind, "private": "omit"} for kind in ("number", "money", "count", "category", "flag", "date")),
        {"type": "category", "private": "hash"},
    ],
    ids=lambda keys: " ".join(keys.values()),
)
def test_directions_and_privacy_are_read_from_a_manifest(keys: dict[str, str]) -> None:
    """What has an order may have a direction, any type may be omitted from the record, and only a string hashed."""
    field = DeclaredField.model_validate(keys)
    assert keys.items() <= field.model_dump().items()
    assert DeclaredField.model_validate_json(field.model_dump_json()) == field


def test_any_other_value_of_private_is_refused() -> None:
    """A misspelt one would otherwise keep nothing private."""
    with pytest.raises(ValidationError, match="Input should be 'omit' or 'hash'"):
        DeclaredField.model_validate({"type": "category", "private": "hashed"})


def test_a_record_is_pickled_by_what_was_given() -> None:
    """A copy from another process equals the record and knows which keys were given; their order does not count."""
    record, reordered = DeclaredField(type="count", min=2.0), DeclaredField(min=2.0, type="count")
    copy = pickle.loads(pickle.dumps(record))  # noqa: S301 - made here
    assert copy == record
    assert copy.model_fields_set == {"type", "min"}
    assert pickle.dumps(record) == pickle.dumps(reordered)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("probability", {"fraud_probability", "is_flagged"}), ("decision", {"prediction", "confidence"})],
)
@pytest.mark.parametrize("id_name", [{"payment_id"}, set()], ids=["id", "no id"])
def test_an_answer_has_the_declared_keys(kind: str, verdict: set[str], id_name: set[str]) -> None:
    """The verdict depends on the kind of answer, and the id is echoed if there is one; the other keys are in all."""
    model = answer_model("payment", CONTRACT.model_copy(update={"answer": kind, "id": next(iter(id_name), None)}))
    always = {"model_version", "base_log_odds", "reasons", "warnings", "list"}
    assert set(model.model_fields) == verdict | id_name | always


def test_an_example_is_shown() -> None:
    """A model made with an example has it in its schema; without one there is none."""
    example = {"amount": 9.99}
    assert request_model("payment", CONTRACT, example).model_json_schema()["examples"] == [example]
    assert "examples" not in REQUEST.model_json_schema()
