"""Write the synthetic rows of the two shipped scorers, byte for byte the same on every machine.

    python -m training.synthesize [--out data]

Fraud among 100,000 transactions (name, rows, description); the fifth pattern appears only late:
    account_takeover   300  an established address suddenly pays many times its average
    fresh_burst        280  an address a few days old pays many times within a day
    hurried_cash_out   220  several times the usual gas, to finish before anyone notices
    corridor           200  USDT on TRON out of three countries (picked at random; they mean nothing)
    dormant_address    220  ONLY FROM DAY 150 OF 182: an aged address, modest amounts, a new chain
Fraud among 100,000 refund requests; again the fifth pattern appears only late:
    serial_refunder    450  many refunds a year, of anything
    account_farm       350  many accounts behind one IP address, most of them young
    quick_electronics  350  a young account claims an expensive device
    never_arrived      350  perishable food that "never arrived", again and again
    aged_account       300  ONLY FROM DAY 150 OF 182: a bought, clean account claims jewelry or codes
Everyone else is legitimate, though whales, exchanges, offices behind one IP and generous refunders
resemble a pattern. The labels have errors: 4 % of the fraud is not labelled as fraud,
and 3 in 10,000 legitimate rows are.

Why the bytes agree across processors: see training/intake/synthetic/draws.py.
"""

import argparse
import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
from numpy.random import SeedSequence

from training.intake.synthetic.draws import Drawn
from training.intake.synthetic.item_catalogue import items
from training.intake.synthetic.refunds import draw_refunds
from training.intake.synthetic.transactions import draw_transactions

SEED: Final = 20_250_707


def write_synthetic_rows(drawn: Drawn, path: Path) -> None:
    """Write the rows as Parquet without metadata of this machine.

    Compressed with Zstandard at a fixed level, because Snappy's bytes depend on the processor's CRC instruction.
    """
    pq.write_table(
        drawn.table.replace_schema_metadata(None),
        path,
        row_group_size=100_000,
        compression="zstd",
        compression_level=3,
        store_schema=False,
    )


def write_catalogue(path: Path) -> None:
    """Write the synthetic catalogue's names and categories as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows((("name", "category"), *items()))


def synthesize(out: Path, *, n_transactions: int = 300_000, n_refunds: int = 120_000) -> None:
    """Write the three files into the new folder `out`, which is created complete or not at all."""
    if out.exists():
        message = f"{out} exists already; move it, or name another folder with --out."
        raise FileExistsError(message)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left behind by a run that was killed
    partial.mkdir(parents=True)
    for_transactions, for_refunds = SeedSequence(SEED).spawn(2)
    write_synthetic_rows(draw_transactions(n_transactions, for_transactions), partial / "transactions.parquet")
    write_synthetic_rows(draw_refunds(n_refunds, for_refunds), partial / "refunds.parquet")
    write_catalogue(partial / "item_catalogue.csv")
    partial.rename(out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the synthetic data into the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Write the synthetic rows of both scorers.")
    parser.add_argument("--out", type=Path, default=Path("data"), help="a folder that does not exist")
    try:
        synthesize(parser.parse_args(arguments).out)
    except FileExistsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
