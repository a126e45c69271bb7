"""Names: every column gets a name that a contract accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.scoring.contract import Contract, request_model
from handler.scoring.fields import DeclaredField
from training.intake.field_names import fitting_name, unique_names


@given(st.lists(st.text(max_size=90), unique=True, max_size=6))
def test_any_columns_become_names_of_a_contract(columns: list[str]) -> None:
    """Columns of any names become distinct fields of a valid contract and request model."""
    names = unique_names([*columns, "Amount"], ("label", "time"))
    fields = {name: DeclaredField(type="number") for name in names.values()}
    contract = Contract(route="/x", answer="probability", id=None, fields=fields, features={})
    assert len(fields) == len(columns) + 1
    assert set(request_model("x", contract).model_fields) == set(fields)
    assert not {"label", "time"} & set(fields)


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("TransactionAmt", "TransactionAmt"),
        ("Transaction Amount ($)", "transaction_amount"),
        ("_hidden", "hidden"),
        ("1st", "column_1st"),
        ("Größe", "grosse"),
        ("prediction", "prediction_value"),
        ("model_dump_x", "value_model_dump_x"),
        ("金额", "column"),
    ],
)
def test_name_stays_close(column: str, name: str) -> None:
    """A valid name is kept; others keep their letters and digits."""
    assert fitting_name(column, ()) == name
