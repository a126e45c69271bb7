"""The request and answer models that a declaration becomes."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from handler.scoring.contract import (
    LARGEST_NUMBER,
    Contract,
    DeclaredField,
    DerivedFeature,
    answer_model,
    request_model,
)

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


def parse(body: str) -> BaseModel:
    """The request model's reading of a JSON body."""
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
    """JSON knows only numbers, and a client that keeps its counts as floats sends 3.0."""
    request = parse(f'{{"amount": 1, "nOrders": {sent}}}')
    assert request.model_dump()["orders"] == read
    assert type(request.model_dump()["orders"]) is int


def test_the_document_gives_a_counts_limits() -> None:
    """Whoever generates a client from it learns them there."""
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
def test_what_the_contract_forbids_is_refused_by_name(body: str, field: str, problem: str) -> None:
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
    ],
)
def test_a_field_that_contradicts_itself_is_refused(keys: dict[str, Any], message: str) -> None:
    """Each impossible combination has a sentence of its own."""
    with pytest.raises(ValidationError, match=message):
        DeclaredField(**keys)


def test_a_derived_feature_has_exactly_one_operation() -> None:
    """Neither none nor two are accepted."""
    for operations in ({}, {"ratio": ("a", "b"), "product": ("a", "b")}):
        with pytest.raises(ValidationError, match="exactly one of ratio, product"):
            DerivedFeature(**operations)


def test_one_name_means_one_thing() -> None:
    """A feature cannot take a field's name, nor a field the id's."""
    number = DeclaredField(type="number")
    whole: dict[str, Any] = {"route": "/x", "answer": "decision", "id": "key", "fields": {"a": number}}
    with pytest.raises(ValidationError, match="a is used twice"):
        Contract(**whole, features={"a": DerivedFeature(ratio=("a", "a"))})
    with pytest.raises(ValidationError, match="key is used twice"):
        Contract(**{**whole, "fields": {"a": DeclaredField(type="number", alias="key")}}, features={})


@pytest.mark.parametrize("kind", ["number", "money", "count", "flag"])
def test_what_has_an_order_may_have_a_direction(kind: str) -> None:
    """A number of any type, and a flag, may be declared to raise or lower the risk."""
    assert DeclaredField.model_validate({"type": kind, "monotone": "decreasing"}).monotone == "decreasing"


@pytest.mark.parametrize(
    ("keys", "lowest", "highest"),
    [
        ({"type": "number"}, -LARGEST_NUMBER, LARGEST_NUMBER),
        ({"type": "count"}, 0, LARGEST_NUMBER),
        ({"type": "money", "min": 0, "max": 9}, 0, 9),
    ],
)
def test_range_of_a_field(keys: dict[str, Any], lowest: float, highest: float) -> None:
    """A range is what was declared, else what every number of the type lies in."""
    field = DeclaredField(**keys)
    assert (field.lowest, field.highest) == (lowest, highest)


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
    """What training declares is what the function reads from the bundle, directions included; a pickle too."""
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


@pytest.mark.parametrize("kind", ["number", "money", "count", "category", "flag"])
def test_any_value_may_be_left_out_of_the_record(kind: str) -> None:
    """Whatever its type."""
    assert DeclaredField.model_validate({"type": kind, "private": "omit"}).private == "omit"


@pytest.mark.parametrize("kind", ["number", "money", "count", "flag"])
def test_only_a_string_may_be_hashed(kind: str) -> None:
    """Of numbers there are so few that their hashes could be looked up, and no bin could be told from them."""
    with pytest.raises(ValidationError, match=f"private: hash is for category, text; of a {kind} it must be omit"):
        DeclaredField.model_validate({"type": kind, "private": "hash"})


@pytest.mark.parametrize("private", ["hash", "omit"])
def test_what_is_private_survives_the_manifest(private: str) -> None:
    """The function learns it from the bundle."""
    field = DeclaredField.model_validate({"type": "category", "private": private})
    assert DeclaredField.model_validate_json(field.model_dump_json()) == field


def test_there_is_no_third_way_to_be_private() -> None:
    """A misspelt one would otherwise be no way at all."""
    with pytest.raises(ValidationError, match="Input should be 'omit' or 'hash'"):
        DeclaredField.model_validate({"type": "category", "private": "hashed"})


def test_a_record_is_pickled_by_content() -> None:
    """Equal records have equal pickles, however many of their keys were given."""
    given_all = DeclaredField(**DeclaredField(type="flag").model_dump())
    assert pickle.dumps(given_all) == pickle.dumps(DeclaredField(type="flag"))


@pytest.mark.parametrize("name", ["_hidden", "model_dump", "copy"])
def test_a_field_that_no_model_can_have(name: str) -> None:
    """A name that pydantic keeps for itself is refused by the contract."""
    fields = {name: DeclaredField(type="number")}
    with pytest.raises(ValidationError, match=f"fields may not be called {name}: a request model has that name"):
        Contract(route="/x", answer="decision", id=None, fields=fields, features={})


def test_an_id_that_an_answer_needs_itself() -> None:
    """The id is echoed in the answer, so it cannot have the name of what the answer says."""
    fields = {"a": DeclaredField(type="number")}
    with pytest.raises(ValidationError, match="id may not be called model_version: an answer has that key already"):
        Contract(route="/x", answer="decision", id="model_version", fields=fields, features={})


def test_a_derived_feature_reads_numbers() -> None:
    """What a feature may read is told by name."""
    fields = {"a": DeclaredField(type="number"), "b": DeclaredField(type="flag")}
    features = {"c": DerivedFeature(ratio=("a", "b"))}
    with pytest.raises(ValidationError, match=r"features\.c reads b; it may read the numeric fields a"):
        Contract(route="/x", answer="decision", id=None, fields=fields, features=features)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("probability", {"fraud_probability", "is_flagged"}), ("decision", {"prediction", "confidence"})],
)
def test_an_answer_says_what_was_declared(kind: str, verdict: set[str]) -> None:
    """The verdict depends on the kind of answer; version, id, reasons and warnings are in both."""
    model = answer_model("payment", CONTRACT.model_copy(update={"answer": kind}))
    always = {"model_version", "payment_id", "base_log_odds", "reasons", "warnings"}
    assert set(model.model_fields) == verdict | always


def test_an_answer_without_an_id_echoes_none() -> None:
    """A scorer that declares no id has none in its answers."""
    assert "payment_id" not in answer_model("payment", CONTRACT.model_copy(update={"id": None})).model_fields


def test_an_example_is_shown() -> None:
    """A model made with an example has it in its schema; without one there is none."""
    example = {"amount": 9.99}
    assert request_model("payment", CONTRACT, example).model_json_schema()["examples"] == [example]
    assert "examples" not in REQUEST.model_json_schema()
