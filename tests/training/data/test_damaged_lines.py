"""Whatever the damage to some lines, only these lines are lost."""

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.data.input_files import read_input_files
from training.data.row_reader import chunks_of, read_chunk

NAMES = ["row_id", "amount", "country", "note", "item", "is_fraud"]
CELLS = st.sampled_from(["", "DE", "12.50", "a, b", 'the "best"', "one\ntwo", "one\n\ntwo, three", '5" pipe', "café"])
DAMAGES = ("short", "long", "stray quote", "stray quote at the end", "glued", "truncated", "not UTF-8")


def written(cells: list[str], quoting: int) -> str:
    """A record as Python writes it."""
    line = io.StringIO()
    csv.writer(line, quoting=quoting, lineterminator="\n").writerow(cells)
    return line.getvalue()


def damaged(line: str, damage: str, place: int) -> bytes:
    """The record with this kind of damage at one of its cells."""
    content, starts = line.removesuffix("\n"), [0, *(i + 1 for i, sign in enumerate(line) if sign == ",")]
    start = starts[place % len(starts)]
    end = (content.find(",", start) + len(content) + 1) % (len(content) + 1)
    results = {
        "short": content[:start] + content[end + 1 :] + "\n",
        "long": f"{content},more\n",
        "stray quote": f'{content[:start]}"{content[start:]}\n',
        "stray quote at the end": f'{content[:end]}"{content[end:]}\n',
        "glued": content,
        "truncated": f"{content[: place % (len(content) + 1)]}\n",
    }
    return results[damage].encode() if damage in results else content.encode() + b"\xff\n"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), min_size=8, max_size=30),
    st.dictionaries(st.integers(0, 29), st.tuples(st.sampled_from(DAMAGES), st.integers(0, 60)), max_size=8),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@example(
    [("DE", "12.50", "DE", "")] * 12,
    {2: ("stray quote", 2), 6: ("stray quote at the end", 2), 8: ("stray quote", 4), 9: ("stray quote", 4)},
    csv.QUOTE_MINIMAL,
)
def test_damage_costs_the_damaged_lines_alone(
    cells: list[tuple[str, ...]], damages: dict[int, tuple[str, int]], quoting: int
) -> None:
    """Every line is either in a row or broken, and the sound rows are those of the undamaged file."""
    rows = [[f"r{number}", *middle, "0"] for number, middle in enumerate(cells)]
    # A row that is joined to another is damaged too.
    glued_to = {number + 1 for number, (damage, _) in damages.items() if damage == "glued"}
    lines = [written(row, quoting).encode() for row in rows]
    for number, (damage, place) in damages.items():
        if number < len(rows):
            lines[number] = damaged(lines[number].decode(), damage, place)
    sound = [row for number, row in enumerate(rows) if number not in damages and number not in glued_to]
    body = b"".join(lines)
    with TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        path.write_bytes(written(NAMES, quoting).encode() + body)
        (part,) = read_input_files(path)
        chunks = list(chunks_of([part], 10))
        read = [read_chunk(chunk.content, part) for chunk in chunks]
    records = [record for chunk in chunks for record in chunk.content]
    assert sum(len(chunk.table) + len(chunk.broken) for chunk in read) == len(records)
    assert [line for record in records for line in record.content.split(b"\n") if line.strip()] == [
        line for line in body.split(b"\n") if line.strip()
    ]
    table_rows = iter([value or "" for value in row.values()] for chunk in read for row in chunk.table.to_pylist())
    assert all(row in table_rows for row in sound)
