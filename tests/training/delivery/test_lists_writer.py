"""A new entry of a list has the value that requests have, in a field that lists may use."""

import pytest

from handler.releases.lists import hashed_value
from handler.scoring.fields import DeclaredField
from training.declaration import declared_scorer
from training.delivery.lists_writer import Typed, new_entry
from training.errors import DataError


@pytest.mark.usefixtures("workplace")
def test_keys_are_compared_as_requests_have_them() -> None:
    """17.0, which is how pandas writes a whole number in a column with gaps, is the key 17."""
    contract = declared_scorer("mini").contract
    fields = {**contract.fields, "country": DeclaredField(type="key")}
    keyed = contract.model_copy(update={"fields": fields})
    typed = Typed("block", "country", 17.0, "x", "")
    assert new_entry(typed, keyed, b"k", "me").value == hashed_value("country", "17", b"k")
    assert new_entry(typed._replace(value=0), keyed, b"k", "me").value == hashed_value("country", "0", b"k")
    with pytest.raises(DataError, match="value is a fraction, not a text or a whole number"):
        new_entry(typed._replace(value=1.5), keyed, b"k", "me")
    audited = contract.model_copy(update={"fields": {**contract.fields, "region": DeclaredField(type="audit")}})
    with pytest.raises(DataError, match="field is 'region'; it must be one of country, item"):
        new_entry(typed._replace(field="region"), audited, b"k", "me")
