"""Keys of files: a value is the same key as in a request, or is refused as it would be there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from handler.scoring.contract import request_model
from handler.scoring.times import END_OF_TIMES
from tests.training.conftest import REMEMBERED_PARAMS, remembered_rows
from training import prepare
from training.data.checked_source import check_source, open_source
from training.declaration import ScorerDeclaration, declared_scorer
from training.intake.infer import infer
from training.run.processes import Workers

LARGE = 2.0**60


@pytest.fixture(autouse=True)
def scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScorerDeclaration:
    """A scorer with cards in an empty folder, which checks seven rows at a time."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("params.yaml").write_text(REMEMBERED_PARAMS)
    declared = declared_scorer("mini", Path("params.yaml"))
    return declared.model_copy(update={"compute": declared.compute.model_copy(update={"chunk_rows": 7})})


def checked(scorer: ScorerDeclaration, cards: pa.Array | list[str], kind: str) -> list[str | None]:
    """The card of each row of a file with these cards, or the reason why the row is refused."""
    rows = remembered_rows().head(len(cards)).drop(columns="card")
    path = Path("data", f"cards.{kind}")
    if kind == "csv":
        rows.assign(card=list(cards)).to_csv(path, index=False)
    else:
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False).append_column("card", cards), path)
    source = open_source(scorer.model_copy(update={"data": str(path)}))
    key_or_reason: dict[int, str | None] = {}
    for chunk in check_source(source, Workers(scorer.compute, 1)):
        key_or_reason |= dict(
            zip(
                chunk.clean.index,
                chunk.clean["card"].astype(object).where(chunk.clean["card"].notna(), None),
                strict=True,
            )
        )
        key_or_reason |= chunk.quarantined["rejected_because"].to_dict()
    return [key_or_reason[place] for place in range(len(cards))]


def requested(scorer: ScorerDeclaration, value: object) -> str | None:
    """The card of a request with this value, through JSON if it can hold it, or None if it is refused or missing."""
    model = request_model("mini", scorer.contract, clock=lambda: END_OF_TIMES)
    request = {"amountUsd": 20.0, "country": "DE", "card": value}
    try:
        is_json = not (isinstance(value, float) and np.isinf(value))
        parsed: Any = model.model_validate_json(json.dumps(request)) if is_json else model.model_validate(request)
    except ValidationError:
        return None
    key: str | None = parsed.card
    return key


NO_KEY = "not a text or a whole number"
FLOATS = [17.0, None, -3.0, -0.0, 2.0**53 + 2, LARGE, 1e19, 1e22, 5411.0]
PARQUET: list[tuple[pa.Array, str]] = [
    (pa.array(FLOATS, pa.float64()), ""),
    (pa.array([17.0, 16_777_217.0], pa.float32()), ""),
    (pa.array([*FLOATS, 1.5, *FLOATS], pa.float64()), f"is a fraction, {NO_KEY}"),
    (pa.array([*FLOATS, float("inf"), -float("inf")], pa.float64()), f"is infinite, {NO_KEY}"),
    (pa.array([1e300], pa.float64()), "is longer than 256 characters"),
    (pa.array([True, None, False]), f"is true or false, {NO_KEY}"),
    (pa.array([17, None, 2**62, -3]), ""),
    (pa.array(["17", "17.0", "0017", "1.5", "True", "inf", "1e5", " ", None, "k" * 256]), ""),
    (pa.array(["k" * 257]), "is longer than 256 characters"),
    (pa.array([[17]]), f"is of type ndarray, {NO_KEY}"),
]


@pytest.mark.parametrize(("cards", "refused"), PARQUET, ids=[f"{cards.type} {why}" for cards, why in PARQUET])
def test_a_value_of_a_parquet_file_is_the_key_of_its_request(
    scorer: ScorerDeclaration, cards: pa.Array, refused: str
) -> None:
    """Each cell is read by its own value, and what a request may not carry is refused with the kind of value."""
    keys = checked(scorer, cards, "parquet")
    expected = [requested(scorer, value) for value in cards.to_pylist()]
    reasons = [
        f"card {refused}" if key is None and given.is_valid else key for key, given in zip(expected, cards, strict=True)
    ]
    assert keys == reasons
    assert bool(refused) == any(text and text.startswith("card ") for text in keys)


WRITTEN: list[tuple[list[str], list[str | None]]] = [
    (["17.0", "", "-3.0", "1e+16", "1.152921504606847e+18"] * 3, ["17", None, "-3", "1" + "0" * 16, str(2**60)] * 3),
    (["17"] * 8 + ["17.0", "0017"], ["17"] * 9 + ["0017"]),
    (["17.0", "1.5", "inf"], ["17", f"card is a fraction, {NO_KEY}", f"card is infinite, {NO_KEY}"]),
    # One text that is no number, or a number that is not written this way, makes the whole column text.
    (["17.0"] * 9 + ["a"], ["17.0"] * 9 + ["a"]),
    (["17", "0017", "True", "1e5", "k" * 256], ["17", "0017", "True", "1e5", "k" * 256]),
    (["1.5", "2.25", "17"], ["1.5", "2.25", "17"]),
    (["k" * 257, "a"], ["card is longer than 256 characters", "a"]),
]


@pytest.mark.parametrize(("cells", "keys"), WRITTEN)
def test_whole_numbers_with_gaps_in_a_csv(scorer: ScorerDeclaration, cells: list[str], keys: list[str | None]) -> None:
    """Whole numbers that were written with decimals because of gaps lose them; other columns are texts, unchanged."""
    assert checked(scorer, cells, "csv") == keys


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_prepare_and_try_have_the_keys_of_requests(scorer: ScorerDeclaration, kind: str) -> None:
    """Numbers with gaps, in a file as pandas writes it, become the keys of requests."""
    rows = remembered_rows()
    numbers = 70_000_000_000_000_000 + 100 * rows["card"].str.removeprefix("card-").astype("Int64")
    rows = rows.assign(card=numbers.astype("float64"))
    path = Path("data", f"rows.{kind}")
    rows.to_csv(path, index=False) if kind == "csv" else rows.to_parquet(path)
    declared = REMEMBERED_PARAMS.replace(scorer.data, str(path))
    Path("params.yaml").write_text(declared)
    prepare.main("mini")
    windows = [pd.read_parquet(file, columns=["card"]) for file in Path("build", "mini", "rows").glob("*.parquet")]
    expected = {requested(scorer, value) for value in rows["card"].dropna().unique().tolist()}
    assert set(pd.concat(windows)["card"].dropna()) == expected
    assert len(expected) > 50
    read = pd.read_csv(path, dtype={"card": str}) if kind == "csv" else pd.read_parquet(path)
    tried = infer(read.drop(columns="row_id"), "is_fraud", "at", is_text=kind == "csv")
    assert set(tried.texts["card"].dropna()) == expected
