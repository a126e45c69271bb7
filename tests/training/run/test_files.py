"""Files are written completely or not at all."""

import ast
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from training.run import files
from training.run.files import (
    read_table,
    read_text_table,
    replace_folder,
    rounded_floats,
    write_bytes,
    write_json,
    write_table,
    write_whole,
)

ROOT = Path(__file__).parents[3]
# Texts that pandas reads as missing by default.
NAMES = ["NA", "null", "NULL", "None", "nan", "NaN", "n/a", "N/A", "#N/A", "<NA>", "-nan", "amount"]


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """If writing fails half way, the old file is unchanged and nothing is left beside it."""
    path = tmp_path / "report.json"
    path.write_text("old")

    def half(target: Path) -> None:
        target.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, half)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"report.json": "old"}


def test_write_makes_its_folders(tmp_path: Path) -> None:
    """Missing folders above a file are created, and no temporary file remains."""
    path = tmp_path / "reports" / "mini" / "report.json"
    write_json(path, {"share": 1 / 3})
    assert path.read_text() == '{\n "share": 0.333333\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_json_without_a_spelling_is_refused(tmp_path: Path) -> None:
    """NaN, which JSON does not have, is refused, and nothing is written."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "report.json", {"share": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (0.12345678, 0.123457),
        (1.2345678e-9, 1.23457e-9),
        (1234.5678, 1234.57),
        ({"a": [0.12345678, 1], "b": (0.1, "x")}, {"a": [0.123457, 1], "b": [0.1, "x"]}),
        (None, None),
        (12345678, 12345678),
    ],
)
def test_floats_are_rounded_wherever_they_stand(content: Any, expected: Any) -> None:  # noqa: ANN401 - what JSON holds
    """Floats are rounded to digits that do not differ between processors; everything else stays."""
    assert rounded_floats(content) == expected


@pytest.mark.parametrize("exists", [False, True], ids=["first", "again"])
def test_folder_is_replaced_whole(tmp_path: Path, *, exists: bool) -> None:
    """A finished folder replaces another one completely."""
    scratch, target = tmp_path / "scratch", tmp_path / "bundle"
    (scratch / "new").mkdir(parents=True)
    (scratch / "new" / "model").write_text("new")
    if exists:
        target.mkdir()
        (target / "left over").touch()
    replace_folder(scratch / "new", target)
    assert [path.name for path in target.iterdir()] == ["model"]
    assert list(scratch.iterdir()) == []


def test_durable_write_flushes_content_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A durable write flushes the content before the rename and the folder after it; others flush nothing."""
    flushed: list[str] = []
    monkeypatch.setattr(files, "sync", lambda path: flushed.append(path.name.split(".")[1] if path.is_file() else "/"))
    write_bytes(tmp_path / "chunk.rows", b"1")
    assert flushed == []
    write_bytes(tmp_path / "chunk.rows", b"2", durable=True)
    assert flushed == ["chunk", "/"]
    assert (tmp_path / "chunk.rows").read_bytes() == b"2"


def test_tables_keep_names_that_look_missing(tmp_path: Path) -> None:
    """A feature called NA or null keeps its name, in tables and in texts; only an empty cell is missing."""
    path = tmp_path / "importance.csv"
    write_table(path, pd.DataFrame({"feature": NAMES, "gain": [None, *range(len(NAMES) - 1)]}))
    table = read_table(path)
    assert table["feature"].tolist() == NAMES
    assert table["gain"].isna().tolist() == [True] + [False] * (len(NAMES) - 1)
    assert read_text_table(path)["feature"].tolist() == NAMES
    assert read_text_table(path)["gain"][0] == ""


@pytest.mark.parametrize("folder", ["training", "benchmarks"])
def test_no_csv_is_read_with_the_default_missing_values(folder: str) -> None:
    """Every call of pandas.read_csv turns off the default missing values, so NA, null and None stay names."""
    calls = [
        (path.relative_to(ROOT), node)
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pd.read_csv"
    ]
    careless = [
        f"{path}:{node.lineno}"
        for path, node in calls
        if not any(
            keyword.arg == "keep_default_na"
            and isinstance(keyword.value, ast.Constant)
            and keyword.value.value is False
            for keyword in node.keywords
        )
    ]
    assert careless == []
