"""A user's file, with any delimiter, encoding or packing, and with anything that surrounds its rows."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from training.errors import DataError
from training.intake.user_file import read_user_file

HEADER = "created_at,amount,country,is_fraud\n"
ROWS = [f"2025-01-{day:02} 08:00,{day}.50,{country},0\n" for day in range(1, 29) for country in ("DE", "NA")]
PLAIN = HEADER + "".join(ROWS)


def write(path: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(files: dict[str, str]) -> bytes:
    """A zip archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return archive.getvalue()


def with_delimiter(delimiter: str, *, rows_end: str = "", header_ends: str = "") -> str:
    """The plain file with another delimiter, and with these ends of its rows and header."""
    header, *rows = PLAIN.replace(",", delimiter).splitlines()
    return "".join([f"{header}{header_ends}\n", *(f"{row}{rows_end}\n" for row in rows)])


SHAPES: dict[str, tuple[str, str | bytes]] = {
    "semicolons": ("rows.csv", with_delimiter(";")),
    "tabs": ("rows.TSV", with_delimiter("\t")),
    "pipes": ("rows.txt", with_delimiter("|")),
    "blanks around": ("rows.txt", with_delimiter(" | ")),
    "byte order mark, CRLF": ("ROWS.CSV", "\ufeff" + PLAIN.replace("\n", "\r\n")),
    "UTF-16": ("rows.csv", PLAIN.encode("utf-16")),
    "UTF-16 without mark": ("rows.csv", PLAIN.encode("utf-16-be")),
    "gzip": ("rows.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
    "gzip of UTF-16 without its suffix": ("rows.csv", gzip.compress(PLAIN.encode("utf-16"), mtime=0)),
    "zip": ("rows.zip", zipped({"train/": "", "train/rows.csv": PLAIN, "__MACOSX/train/._rows.csv": "x"})),
    "zip without its suffix": ("rows.csv", zipped({"rows.csv": PLAIN})),
    "rows end in a delimiter": ("rows.csv", with_delimiter(",", rows_end=",")),
    "header ends in delimiters": ("rows.csv", with_delimiter(",", header_ends=",,")),
    "both end in delimiters": ("rows.csv", with_delimiter("|", rows_end="||", header_ends="|")),
    "lines above the header": ("rows.csv", f"Payments\nPeriod: 2025-01-01, 2025-01-28\n\n;;;;\n{PLAIN}"),
    "hint of the delimiter": ("rows.csv", "sep=;\r\n" + with_delimiter(";")),
    "units": ("rows.csv", f"{HEADER},[EUR],,[0/1]\n{''.join(ROWS)}"),
    "types": ("rows.csv", f"{HEADER}datetime,float,text,int\n{''.join(ROWS)}"),
    "repeated header": ("rows.csv", "".join([HEADER, *ROWS[:9], HEADER, *ROWS[9:20], "\ufeff", HEADER, *ROWS[20:]])),
    "empty tail": ("rows.csv", PLAIN + ",,,\n" * 30),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_rows(tmp_path: Path, shape: str) -> None:
    """Every way of writing the table gives the same rows."""
    plain = read_user_file(write(tmp_path / "plain.csv", PLAIN))
    read = read_user_file(write(tmp_path / SHAPES[shape][0], SHAPES[shape][1]))
    pd.testing.assert_frame_equal(read.rows, plain.rows)
    assert read.is_text
    assert plain.notices == []


WIDE = "row_id,amount,shop,note,is_fraud\n"


def wide(number: int, shop: str = "Shop", note: str = "") -> str:
    """A line of five cells with this row number."""
    return f"{number},{number}.50,{shop},{note},{number % 2}\n"


def test_stray_quotes_swallow_no_row(tmp_path: Path) -> None:
    """Cells that open a quote and never close it, even several, cost only their own lines."""
    shops = {70: '"The Shop', 140: '"', 150: '"'}
    lines = [wide(number, shops.get(number, "Shop")) for number in range(800)]
    read = read_user_file(write(tmp_path / "rows.csv", WIDE + "".join(lines)))
    assert read.rows["row_id"].tolist() == [str(n) for n in range(800) if n not in {70, 140, 150}]
    assert read.notices == [
        "3 lines are broken and are set aside, the first is line 72: the line opens a quote that is never closed"
    ]


def test_quotes_behind_backslashes(tmp_path: Path) -> None:
    """Backslashes escape quotes, as MySQL, Hive and Spark write them; doubled quotes and paths work too."""
    shops = ['"The \\"Best\\", Ltd"', '"ends in \\""', '"C:\\"', '"C:\\\\ \\" \\\\"', '"a ""b"", c"', "C:\\temp", "\\N"]
    read = read_user_file(write(tmp_path / "rows.csv", WIDE + "".join(map(wide, range(7), shops))))
    assert read.notices == []
    assert read.rows["shop"].tolist() == [
        'The "Best", Ltd',
        'ends in "',
        "C:\\",
        'C:\\ " \\',
        'a "b", c',
        "C:\\temp",
        "\\N",
    ]


def test_a_line_without_a_cell_is_never_moved_by_a_column(tmp_path: Path) -> None:
    """If every twentieth line lacks a cell, the file is refused with the number, places and reason of broken lines."""
    lines = [wide(number).replace(",Shop", "") if number % 20 == 0 else wide(number) for number in range(200)]
    path = write(tmp_path / "rows.csv", WIDE + "".join(lines))
    with pytest.raises(DataError) as refused:
        read_user_file(path)
    assert str(refused.value) == (
        f"{path}: 10 of 200 lines are broken, more than 1% (lines 2, 22, 42, ...); line 2: the line has 4 cells; "
        "the header has 5 names; correct them or remove them"
    )


def test_what_was_set_aside_is_said(tmp_path: Path) -> None:
    """Notices count the lines that were set aside and name the first one and the reason, such as two joined files."""
    lines = "".join(map(wide, range(300)))
    content = f"{WIDE},[EUR],,,[0/1]\n{lines}{WIDE}{lines[:-1]}{WIDE}{lines}{WIDE},,,,\n"
    read = read_user_file(write(tmp_path / "rows.csv", content))
    assert len(read.rows) == 899
    assert read.notices == [
        "line 2 holds units instead of values and is set aside",
        "2 lines repeat the header and are set aside, the first is line 303",
        (
            "line 603 is broken and is set aside: the line has 9 cells; the header has 5 names: "
            "the header of another file is joined to its end"
        ),
        "line 905 has no value and is set aside",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_of_any_delimiter(tmp_path: Path, delimiter: str) -> None:
    """The delimiter is detected, a quoted name may contain another one, and only an empty cell is missing."""
    lines = [['"name, or; so"', " country ", "x"], ["a", "NA", "1"], ["", "null", ""]]
    path = write(tmp_path / "rows.CSV", "\n".join(delimiter.join(cells) for cells in lines))
    rows, is_text, _ = read_user_file(path)
    assert is_text
    assert list(rows) == ["name, or; so", "country", "x"]
    assert rows.fillna("?").to_numpy().tolist() == [["a", "NA", "1"], ["?", "null", "?"]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_csv_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    """A byte order mark is not part of the first name, and the encoding of Windows is read."""
    read = read_user_file(write(tmp_path / "rows.csv", "größe,€\n1,ä\n".encode(encoding)))
    assert read.rows.to_dict("list") == {"größe": ["1"], "€": ["ä"]}


def test_parquet_keeps_its_types_and_index(tmp_path: Path) -> None:
    """A Parquet file's types stay, and a named index is a column."""
    pd.DataFrame({"x": [1.5]}, index=pd.Index(["a"], name="key")).to_parquet(tmp_path / "rows.parquet")
    rows, is_text, _ = read_user_file(tmp_path / "rows.parquet")
    assert not is_text
    assert rows.to_dict("list") == {"key": ["a"], "x": [1.5]}


def parquet(path: Path) -> None:
    """A Parquet file."""
    pd.DataFrame({"x": [1.5]}).to_parquet(path)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("rows.dat", "x", "is not a .csv or .parquet file"),
        ("rows.xlsx", zipped({"[Content_Types].xml": "", "xl/workbook.xml": ""}), "is an Excel workbook (.xlsx); save"),
        ("rows.csv", zipped({"[Content_Types].xml": "", "xl/workbook.xml": ""}), "is an Excel workbook (.xlsx); save"),
        ("rows.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "is an Excel 97 workbook (.xls)"),
        ("rows.zip", zipped({"a.csv": PLAIN, "b.csv": PLAIN}), "is a zip archive of 2 files: a.csv, b.csv; unpack it"),
        ("rows.csv", gzip.compress(PLAIN.encode(), mtime=0)[:-20], "it may be damaged or truncated"),
        ("rows.csv", parquet, "is a Parquet file; name it .parquet"),
        ("rows.parquet", PLAIN, "is not Parquet but text; name it .csv"),
        ("rows.csv", '{"amount": 1}\n', "is JSON"),
        ("rows.csv", "<!DOCTYPE html>", "is an HTML or XML page"),
        ("rows.csv", PLAIN.encode("utf-32"), "is UTF-32; convert it with: iconv -f UTF-32"),
        ("rows.csv", "서울;카드\n결제;1\n".encode("euc_kr"), "but seems to be EUC-KR; convert it with: iconv -f"),
        ("rows.csv", "支店,県\n大阪府,新宿区\n".encode("shift_jis"), "but seems to be SHIFT-JIS; convert it with:"),
        ("rows.csv", "分店,省\n北京市,河北省\n".encode("gb18030"), "but seems to be GB18030; convert it with: iconv"),
        ("rows.csv", "a,b\r1,2\r3,4\r", "CR alone; convert it with: tr '\\r' '\\n' < "),
        ("rows.csv", "a,b\r1,2\r3,4\r", "rows.utf8.csv"),
        ("rows.csv.gz", gzip.compress(b"a,b\r1,2\r", mtime=0), "convert it with: gzip -dc "),
        ("rows.csv", bytes(range(256)) * 20, "is not text"),
        ("rows.csv", "", "is empty"),
        ("rows.csv", "a,b\n", "holds no rows"),
        ("rows.csv", "amount\n1\n2\n", "has a single column, 'amount'"),
        ("rows.csv", "a,b,a \n1,2,3\n", "has more than one column named a"),
        ("rows.csv", "a,b\n1,2,3\n4,5,6\n", "line 2: the line has 3 cells; the header has 2 names"),
        ("rows.csv", "a,b\n1,2\n4,5,6\n", "1 of 2 lines are broken, more than 1% (line 3); line 3: the line has 3"),
        ("rows.parquet", "", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: str | bytes | Callable[[Path], None], why: str
) -> None:
    """A file that is no table is refused with one sentence that names it and says what it is."""
    path = tmp_path / name
    content(path) if callable(content) else write(path, content)
    with pytest.raises(DataError) as refused:
        read_user_file(path)
    assert str(path) in str(refused.value)
    assert why in str(refused.value)


def test_absent_file(tmp_path: Path) -> None:
    """A missing file and an empty folder are refused; a file with a similar name is suggested."""
    write(tmp_path / "pay$USD.csv", PLAIN)
    with pytest.raises(DataError, match="does not exist"):
        read_user_file(tmp_path / "rows.csv")
    with pytest.raises(DataError, match=r"; paySD.csv: did you mean pay\$USD.csv\?$"):
        read_user_file(tmp_path / "paySD.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is a folder without data files"):
        read_user_file(tmp_path / "empty")
