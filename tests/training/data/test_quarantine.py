"""Quarantine: bad rows as they came, each with its place in its file, and the number of bad rows by reason."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from training.data.checked_source import CheckedChunk, RereadRows
from training.data.quarantine import QuarantineWriter
from training.declaration import ScorerDeclaration
from training.errors import DataError

HEADER = "rejected_part,rejected_row,rejected_line,rejected_because,rejected_text,amount\n"


def chunk_of(bad: dict[int, str], *, n_rows: int = 100, part: int = 0, first: int = 0) -> CheckedChunk:
    """A chunk whose rows at these places, counted over all chunks, are bad for these reasons."""
    quarantined = pd.DataFrame({"amount": [-1.0] * len(bad), "rejected_because": bad.values()}, index=list(bad))
    counts = Counter(reason.replace(" ", ": ", 1) for reason in bad.values())
    return CheckedChunk(n_rows, n_rows, pd.DataFrame(), None, quarantined, counts, part, first)


def test_rows_have_their_place_and_reason(tmp_path: Path) -> None:
    """Each row has its file, its place in it and its reason under a single header, and all rows are counted."""
    with QuarantineWriter(tmp_path / "quarantine.csv", ["a.csv", "b.csv"]) as quarantine:
        quarantine.add(chunk_of({}))
        quarantine.add(chunk_of({3: "amount is below 0", 50: "amount is below 0"}))
        quarantine.add(chunk_of({103: "amount is below 0"}, part=1, first=100))
        quarantine.add_repeated(RereadRows(pd.DataFrame({"amount": [5.0]}, index=[7]), 0, 0), "id")
        quarantine.add_repeated(RereadRows(pd.DataFrame({"amount": [5.0]}, index=[199]), 1, 100), "id")
    assert (tmp_path / "quarantine.csv").read_text() == (
        f"{HEADER}"
        "a.csv,4,,amount is below 0,,-1.0\n"
        "a.csv,51,,amount is below 0,,-1.0\n"
        "b.csv,4,,amount is below 0,,-1.0\n"
        "a.csv,8,,id was seen in an earlier row,,5.0\n"
        "b.csv,100,,id was seen in an earlier row,,5.0\n"
    )
    assert (quarantine.n_rows, quarantine.n_bad) == (300, 5)
    assert quarantine.counts == {"amount: is below 0": 3, "id: was seen in an earlier row": 2}


def test_a_file_without_bad_rows_has_its_header(tmp_path: Path) -> None:
    """Whoever reads the file finds the columns, even if no row was bad."""
    with QuarantineWriter(tmp_path / "quarantine.csv", ["rows.csv"]) as quarantine:
        quarantine.add(chunk_of({}))
        quarantine.add(chunk_of({}))
    assert (tmp_path / "quarantine.csv").read_text() == HEADER


def test_too_many_bad_rows_of_all_chunks(tmp_path: Path, mini_scorer: ScorerDeclaration) -> None:
    """One bad row in a hundred is allowed, over all rows and not in each chunk; reasons are sorted by name."""
    with QuarantineWriter(tmp_path / "quarantine.csv", ["rows.csv"]) as quarantine:
        quarantine.add(chunk_of({1: "visits is infinite", 2: "amount is below 0"}))
        quarantine.add(chunk_of({}))
        quarantine.require_few_bad_rows(mini_scorer)
        quarantine.add(chunk_of({207: "amount is below 0", 208: "amount is below 0"}))
    with pytest.raises(DataError) as caught:
        quarantine.require_few_bad_rows(mini_scorer)
    assert str(caught.value).endswith("amount: is below 0 in 3 rows; visits: is infinite in 1 row")


def test_a_column_called_reason_is_kept(tmp_path: Path) -> None:
    """A row's own column called reason is not overwritten with the reason of the rejection."""
    chunk = chunk_of({3: "amount is below 0"})
    chunk.quarantined["reason"] = "too small"
    with QuarantineWriter(tmp_path / "quarantine.csv", ["rows.csv"]) as quarantine:
        quarantine.add(chunk)
    (row,) = pd.read_csv(tmp_path / "quarantine.csv").to_dict(orient="records")
    assert (row["reason"], row["rejected_because"]) == ("too small", "amount is below 0")
