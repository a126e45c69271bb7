"""Rows per second of `make score` on one core: the shipped transaction rows, from one Parquet file to another.

They are measured by processor time, so that other load on the machine does not count. One chunk is scored in this
process.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import machine
from benchmarks.tables import date_of
from training.run.files import BUILD
from training.score import CHUNK_ROWS, ScoreOptions, score_files

NAME = "transaction"
# Enough rows for a stable figure, and few enough to finish within a minute.
SIZES = {"turns": (5, 1), "rows": (CHUNK_ROWS, 400)}
KINDS = {"without reasons": False, "with reasons": True}


def paces(folder: Path, options: Namespace) -> dict[str, list[float]]:
    """The rows a second of each turn, without and with reasons."""
    windows = sorted((ROOT / BUILD / NAME / "rows").glob("*.parquet"))
    rows = pa.concat_tables(pq.read_table(path) for path in windows).slice(0, options.rows)
    pq.write_table(rows, folder / "rows.parquet")
    figures: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in tqdm(range(options.turns), unit="turn"):
        for kind, explain in KINDS.items():
            output = folder / f"{turn}-{explain}.parquet"
            # The store holds no versions, so the packaged bundle is used.
            scoring = ScoreOptions(
                NAME,
                folder / "rows.parquet",
                output,
                explain=explain,
                store=str(folder / "store"),
                chunk_rows=CHUNK_ROWS,
            )
            begin = process_time()
            score_files(scoring)
            figures[kind].append(rows.num_rows / (process_time() - begin))
    return figures


def sentence(report: Mapping[str, Any]) -> str:
    """The sentence in docs/batch-scoring.md; `tests/training/test_score.py` compares it with the report."""
    plain, explained = (f"{report['rows_a_second'][kind]:,.0f}" for kind in KINDS)
    return (
        f"On {date_of(report)} one core scored {plain} transaction rows a second without reasons and {explained} with "
        "them."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the sentence."""
    options = options_of("serving.batch", __doc__, SIZES, arguments)
    with TemporaryDirectory() as folder, chdir(ROOT):
        turns = paces(Path(folder), options)
    medians = {kind: median(figures) for kind, figures in turns.items()}
    report = {"machine": machine(), "rows_a_second": medians, "turns": turns}
    print(sentence(report))
    keep("batch", report, options)


if __name__ == "__main__":
    main()
