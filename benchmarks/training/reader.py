"""The CSV readers of this project, pandas, Arrow and DuckDB: seconds and memory for a file and one four times as large.

Each reads every cell as text, on one core, in a process of its own; in chunks of 100,000 rows, except Arrow, which
reads blocks of its default size. Seconds are processor time without the imports. The other readers are made for sound
files: at a broken line they stop or guess.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import machine

SIZES = {"rows": (250_000, 1_000), "times": (4, 2), "rounds": (3, 1)}
_OURS = """
from pathlib import Path
from training.data.input_files import read_input_files
from training.data.row_reader import chunks_of, read_chunk
begin = time.process_time()
parts = read_input_files(Path(path))
rows = sum(len(read_chunk(chunk.content, parts[0]).table) for chunk in chunks_of(parts, 100_000))
"""
_PANDAS = """
import pandas as pd
begin = time.process_time()
chunks = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], chunksize=100_000)
rows = sum(map(len, chunks))
"""
_ARROW = """
import pyarrow as pa
from pyarrow import csv
begin = time.process_time()
with open(path) as lines:
    names = next(lines).rstrip().split(",")
options = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
rows = sum(map(len, csv.open_csv(path, csv.ReadOptions(use_threads=False), convert_options=options)))
"""
_DUCKDB = """
import duckdb
begin = time.process_time()
duckdb.sql("SET threads = 1; SET enable_progress_bar = false")
reader = duckdb.sql(f"FROM read_csv('{path}', all_varchar = true)").to_arrow_reader(100_000)
rows = sum(map(len, reader))
"""
READERS = {"this project": _OURS, "pandas": _PANDAS, "Arrow": _ARROW, "DuckDB": _DUCKDB}
_MEASURED = """
import re, sys, time
path = sys.argv[1]
{code}
seconds = time.process_time() - begin
# What `resource` gives begins with the memory of the process that started this one.
print(rows, seconds, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1000)
"""


def write_rows(path: Path, n_rows: int) -> None:
    """A sound file of payments, twelve columns wide."""
    generator = np.random.default_rng(1)
    times = pd.Timestamp("2025-01-06") + pd.to_timedelta(np.arange(n_rows), unit="s")
    table = pd.DataFrame({"transaction_id": [f"T{number:08}" for number in range(n_rows)], "created_at": times})
    for name in ("amount", "gas_price", "address_age_days", "avg_tx_value"):
        table[name] = generator.exponential(100, n_rows).round(2)
    for name, levels in (("chain", 3), ("token", 9), ("country", 40), ("merchant", 900)):
        table[name] = [f"{name} {level}" for level in generator.integers(0, levels, n_rows)]
    table.assign(tx_24h=generator.integers(0, 20, n_rows), is_fraud=0).to_csv(path, index=False)


def measured(reader: str, path: Path) -> tuple[int, float, float]:
    """The rows that a reader found, its seconds and the most memory of its process in MB."""
    code = _MEASURED.format(code=READERS[reader])
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, check=True, capture_output=True, text=True)
    rows, seconds, memory = done.stdout.split()
    return int(rows), float(seconds), float(memory)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the readers in turn, and print the best round of each."""
    options = options_of("training.reader", __doc__, SIZES, arguments)
    report: dict[str, object] = {"machine": machine(), "rows": options.rows, "times": options.times}
    with TemporaryDirectory() as folder:
        for factor in (1, options.times):
            path = Path(folder, f"{factor}.csv")
            write_rows(path, factor * options.rows)
            megabytes = path.stat().st_size / 1e6
            rounds = [{reader: measured(reader, path) for reader in READERS} for _ in range(options.rounds)]
            for reader in READERS:
                results = [measurements[reader] for measurements in rounds]
                if {rows for rows, _, _ in results} != {factor * options.rows}:
                    raise SystemExit(f"{reader} read {results[0][0]:,} of {factor * options.rows:,} rows")
                seconds, memory = min(result[1] for result in results), max(result[2] for result in results)
                report[f"{reader}, {factor}"] = {"MB/s": megabytes / seconds, "seconds": seconds, "MB": memory}
                print(f"{megabytes:6.0f} MB  {reader:<13} {megabytes / seconds:6.1f} MB/s  {memory:6.0f} MB of memory")
    keep("reader", report, options)


if __name__ == "__main__":
    main()
