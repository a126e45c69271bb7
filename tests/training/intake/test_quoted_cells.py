"""Quotes inside cells: values are the same with and without them."""

import pandas as pd
import pytest

from training.intake.quoted_cells import without_quotes


@pytest.mark.parametrize("quoted", ["'{}'", '"{}"', '="{}"', '=("{}")', "`{}`", "«{}»", "'{}"])
def test_cells_leave_their_quotes(quoted: str) -> None:
    """Cells lose their quotes, and the notice names the column with an example."""
    plain = pd.DataFrame({"code": ["0007", "M", None, "x y"], "free": ["it's", "'tis", "a 'b'", "c"]}, dtype="str")
    cells = plain.assign(code=[cell if pd.isna(cell) else quoted.format(cell) for cell in plain["code"]]).astype("str")
    rows, notices = without_quotes(cells)
    pd.testing.assert_frame_equal(rows, plain)
    assert notices == [
        (
            f"code: cells are in quotes, such as {quoted.format('0007')}; the quotes are removed, and requests must "
            "omit them"
        )
    ]


def test_numbers_and_free_text_stay() -> None:
    """A table without quoted columns is returned as it is."""
    rows = pd.DataFrame({"amount": [1.5, 2.5], "note": ["'quoted'", "not"]})
    assert without_quotes(rows)[0] is rows
