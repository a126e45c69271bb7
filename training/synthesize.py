"""Write the synthetic rows of the two shipped scorers, byte for byte the same on every machine.

    python -m training.synthesize [--out data]

Fraud among 100,000 transactions (name, rows, what it looks like); the fifth appears only late:
    account_takeover   300  an established address suddenly pays many times its average
    fresh_burst        280  an address a few days old pays many times within a day
    hurried_cash_out   220  several times the usual gas, to be gone before anyone looks
    corridor           200  USDT on TRON out of three countries (picked blindly; they mean nothing)
    dormant_address    220  ONLY FROM DAY 150 OF 182: an aged address, modest amounts, a new chain
Fraud among 100,000 refund requests; again the fifth appears only late:
    serial_refunder    450  many refunds a year, of anything
    account_farm       350  many accounts behind one IP address, most of them young
    quick_electronics  350  a young account claims an expensive device
    never_arrived      350  perishable food that "never arrived", again and again
    aged_account       300  ONLY FROM DAY 150 OF 182: a bought, clean account claims jewelry or codes
Everyone else is legitimate, though whales, exchanges, offices behind one IP and generous refunders
resemble a pattern. The labels err: 4 % of the fraud goes unnoticed, and 3 in 10,000 legitimate rows
are reported.

The bytes agree across processors because integer draws and integer weights decide who and what, and
whatever went through exp, whose last bits differ, is rounded before it is compared or written.
"""

import argparse
import csv
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.random import PCG64, Generator, SeedSequence

from training.item_catalogue import JUNK, customer_wording, items

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]
type Mask = npt.NDArray[np.bool_]
type Names = Sequence[str]

SEED: Final = 20_250_707
START: Final = np.datetime64("2025-07-07T00:00:00", "us")  # a Monday
DAYS: Final = 182
LATE_PATTERN_DAY: Final = 150
LATE_CHAIN_DAY: Final = 140
HOUR_US: Final = 3_600_000_000


class Segment(NamedTuple):
    """A kind of customer or fraudster: how common, its spreads, and the values it keeps to."""

    name: str
    per_100k: int
    spreads: tuple[tuple[float, float], ...]  # (median, sigma of the logarithm) of each quantity
    only: Mapping[str, Names] = {}


class Population(NamedTuple):
    """Who sends requests: the legitimate, the known fraud, and the fraud that appears late."""

    legitimate: tuple[Segment, ...]
    fraud: tuple[Segment, ...]
    late_fraud: tuple[Segment, ...]
    weekdays: tuple[int, ...]  # weights, from Monday on

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All segments; their positions are the codes that rows carry."""
        return self.legitimate + self.fraud + self.late_fraud


class Arrivals(NamedTuple):
    """When each row happens and the code of the segment behind it, in order of time."""

    time: npt.NDArray[np.datetime64]
    day: Integers
    segment: Integers


class Drawn(NamedTuple):
    """The rows to publish and, for each, the name of its segment, which stays unpublished."""

    table: pa.Table
    segment: npt.NDArray[np.str_]


class Chain(NamedTuple):
    """A chain's weight on the first and on the last day, its usual gas, and what moves on it."""

    first_weight: int
    last_weight: int
    gas_gwei: float
    tokens: Mapping[str, int]


CHAINS: Final = {
    "ETH": Chain(3300, 3000, 17.0, {"USDT": 34, "ETH": 30, "USDC": 24, "DAI": 7, "WBTC": 5}),
    "BSC": Chain(1800, 1700, 1.2, {"USDT": 60, "BNB": 28, "USDC": 9, "BUSD": 3}),
    "TRON": Chain(1600, 1700, 4.0, {"USDT": 88, "TRX": 11, "USDC": 1}),
    "BTC": Chain(1400, 1200, 9.0, {"BTC": 1}),
    "POLYGON": Chain(700, 600, 45.0, {"USDC": 44, "USDT": 34, "POL": 17, "DAI": 5}),
    "SOL": Chain(500, 900, 2.5, {"SOL": 46, "USDC": 43, "USDT": 8, "BONK": 3}),
    "ARBITRUM": Chain(350, 400, 0.8, {"USDC": 48, "ETH": 33, "USDT": 14, "ARB": 5}),
    "BASE": Chain(150, 300, 0.6, {"USDC": 66, "ETH": 34}),
    "OPTIMISM": Chain(90, 90, 0.7, {"USDC": 50, "ETH": 38, "OP": 12}),
    "AVALANCHE": Chain(60, 60, 26.0, {"USDC": 52, "AVAX": 38, "USDT": 10}),
    "LITECOIN": Chain(30, 30, 1.0, {"LTC": 1}),
    "CELO": Chain(8, 8, 5.0, {"USDC": 70, "CELO": 30}),
    "GNOSIS": Chain(5, 5, 2.0, {"DAI": 80, "USDC": 20}),
    "ZCASH": Chain(3, 3, 1.0, {"ZEC": 1}),
    "MONAD": Chain(0, 0, 1.5, {"USDC": 55, "MON": 45}),  # opens on LATE_CHAIN_DAY
}

CORRIDOR: Final[dict[str, Names]] = {
    "chain": ("TRON",),
    "token_type": ("USDT",),
    "sender_country": ("PT", "CL", "MY"),
}
NEW_CHAIN: Final[dict[str, Names]] = {"chain": ("MONAD",), "token_type": ("USDC", "MON")}

# fmt: off
# Kept by hand, because these read as tables.
COUNTRIES: Final = {
    "US": 2400, "GB": 760, "DE": 640, "IN": 610, "BR": 480, "VN": 400, "TR": 380, "NG": 350, "FR": 330, "KR": 310,
    "JP": 290, "CA": 280, "ID": 260, "PH": 230, "ES": 210, "NL": 200, "IT": 190, "AU": 180, "MX": 170, "AR": 160,
    "UA": 150, "TH": 140, "PL": 130, "SG": 125, "MY": 120, "AE": 110, "CH": 105, "PT": 100, "ZA": 90, "PK": 85,
    "SE": 75, "CO": 70, "HK": 66, "BE": 62, "RO": 58, "KE": 54, "AT": 50, "CZ": 47, "CL": 44, "IE": 41,
    "GR": 38, "NO": 35, "DK": 33, "IL": 31, "FI": 28, "HU": 26, "PE": 24, "EG": 22, "BD": 20, "GH": 18,
    "NZ": 16, "BG": 14, "LK": 12, "MA": 11, "HR": 9, "SK": 8, "LT": 7, "SI": 6, "EE": 5, "LV": 4,
    "UY": 3, "IS": 2, "MT": 1,
}
PAYERS: Final = Population(
    legitimate=(  #                        average_usd  x average   age_days    tx_24h      x usual gas
        Segment("everyday",       79_550, ((95, 1.3),   (0.9, 0.9), (380, 1.0), (1.6, 0.8), (1.0, 0.4))),
        Segment("newcomer",        7_000, ((70, 1.1),   (1.0, 1.0), (4, 1.2),   (1.8, 0.8), (1.1, 0.4))),
        Segment("exchange",        3_000, ((400, 1.0),  (0.9, 1.2), (900, 0.6), (90, 1.2),  (1.1, 0.4))),
        Segment("trader",          3_000, ((350, 1.1),  (1.2, 1.0), (300, 1.0), (7, 0.9),   (2.3, 0.5))),
        Segment("whale",           2_000, ((9e3, 1.2),  (1.2, 1.1), (700, 0.8), (3, 1.0),   (1.3, 0.5))),
        Segment("big_purchase",    2_000, ((90, 1.0),   (7, 0.7),   (420, 1.0), (1.8, 0.8), (1.1, 0.4))),
        Segment("airdrop_hunter",  1_200, ((25, 1.0),   (1.2, 0.9), (12, 1.0),  (12, 0.8),  (1.2, 0.5))),
        Segment("remittance",      1_250, ((180, 0.8),  (1.1, 0.6), (260, 1.0), (1.5, 0.7), (1.0, 0.4)),
                CORRIDOR),
    ),
    fraud=(
        Segment("account_takeover",  300, ((90, 1.1),   (18, 0.7),  (330, 1.0), (3.2, 0.8), (1.7, 0.5))),
        Segment("fresh_burst",       280, ((60, 0.9),   (7, 0.9),   (2.2, 0.9), (16, 0.6),  (1.5, 0.5))),
        Segment("hurried_cash_out",  220, ((400, 1.0),  (3, 0.8),   (70, 1.0),  (4, 0.9),   (5.5, 0.5))),
        Segment("corridor",          200, ((300, 0.9),  (2, 0.8),   (50, 1.0),  (3.5, 0.8), (1.3, 0.4)),
                CORRIDOR),
    ),
    late_fraud=(
        Segment("dormant_address",   220, ((150, 0.9),  (2.8, 0.7), (700, 0.4), (3, 0.7),   (1.7, 0.4)),
                NEW_CHAIN),
    ),
    weekdays=(104, 106, 105, 104, 108, 90, 83),
)
CLAIMANTS: Final = Population(
    legitimate=(  #                        years       refunds/yr  x price    others on the IP
        Segment("everyday",       86_200, ((2.6, 0.9), (0.7, 0.9), (0.9, 0.6), (0.35, 0.8))),
        Segment("newcomer",        5_000, ((0.2, 0.9), (2.0, 0.9), (0.9, 0.6), (0.4, 0.8))),
        Segment("generous",        3_800, ((2.4, 0.8), (4.8, 0.6), (0.9, 0.6), (0.5, 0.8)),
                {"category": ("Clothing", "Footwear", "Food, Perishable")}),
        Segment("shared_ip",       2_500, ((2.2, 0.9), (0.8, 0.9), (0.9, 0.6), (9, 0.8))),
        Segment("new_device",      1_000, ((0.3, 0.9), (1.5, 0.9), (2.6, 0.5), (0.4, 0.8)),
                {"category": ("Electronics",)}),
    ),
    fraud=(
        Segment("serial_refunder",   450, ((1.8, 0.8), (8.0, 0.7), (1.3, 0.6), (0.8, 0.9))),
        Segment("account_farm",      350, ((0.6, 1.0), (2.5, 0.9), (1.3, 0.6), (8, 0.8))),
        Segment("quick_electronics", 350, ((0.25, 0.9), (2.0, 0.9), (3.6, 0.6), (0.7, 0.9)),
                {"category": ("Electronics",)}),
        Segment("never_arrived",     350, ((1.3, 0.8), (7.5, 0.7), (1.5, 0.5), (0.6, 0.9)),
                {"category": ("Food, Perishable",)}),
    ),
    late_fraud=(
        Segment("aged_account",      300, ((3.6, 0.4), (1.2, 0.8), (2.6, 0.6), (1.6, 0.8)),
                {"category": ("Jewelry & Watches", "Digital Goods")}),
    ),
    weekdays=(118, 108, 102, 98, 96, 88, 90),
)
HOURS: Final = (30, 22, 17, 14, 14, 18, 26, 36, 48, 56, 60, 62, 64, 63, 62, 62, 63, 65, 68, 70, 68, 62, 52, 40)
FRAUD_HOURS: Final = (52, 54, 55, 54, 50, 44, 38, 36, 36, 38, 40, 40, 42, 42, 42, 42, 42, 42, 44, 44, 46, 48, 50, 52)
# fmt: on

# A category's weight among refunds on the first and the last day, and the usual price in dollars.
SHELVES: Final = {
    "Food, Perishable": (120, 150, 24),
    "Food, Packaged": (60, 60, 19),
    "Electronics": (150, 160, 150),
    "Clothing": (220, 200, 44),
    "Footwear": (100, 95, 78),
    "Home & Kitchen": (100, 95, 58),
    "Beauty": (60, 65, 29),
    "Toys": (50, 60, 33),
    "Books & Media": (45, 35, 18),
    "Sports & Outdoors": (50, 45, 64),
    "Jewelry & Watches": (25, 25, 140),
    "Digital Goods": (20, 30, 27),
}


def pick(rng: Generator, weights: Iterable[int], size: int) -> Integers:
    """Positions drawn with integer weights, which makes the draw exact on every processor."""
    edges = np.cumsum(np.fromiter(weights, np.int64))
    return np.searchsorted(edges, rng.integers(edges[-1], size=size), side="right")


def pick_drifting(rng: Generator, first: Iterable[int], last: Iterable[int], day: Integers) -> Integers:
    """Positions drawn with weights that move from `first` to `last` as the days pass."""
    by_last = rng.integers(DAYS, size=day.size) < day
    return np.where(by_last, pick(rng, last, day.size), pick(rng, first, day.size))


def happens(rng: Generator, permille: int | Integers, size: int) -> Mask:
    """True for each row at the given chance in a thousand."""
    return rng.integers(1000, size=size) < permille


def draw_arrivals(rng: Generator, population: Population, n_rows: int) -> Arrivals:
    """Times over the 26 weeks, slightly growing, and who is behind each."""
    days = np.arange(DAYS)
    weights = np.array(population.weekdays)[days % 7] * (1000 + days)
    day = pick(rng, weights.tolist(), n_rows)
    n_late = len(population.late_fraud)
    shares = [segment.per_100k for segment in population.segments]
    known = pick(rng, shares[:-n_late] + [0] * n_late, n_rows)
    segment = np.where(day < LATE_PATTERN_DAY, known, pick(rng, shares, n_rows))
    is_fraud = segment >= len(population.legitimate)
    hour = np.where(is_fraud, pick(rng, FRAUD_HOURS, n_rows), pick(rng, HOURS, n_rows))
    offset = (24 * day + hour) * HOUR_US + rng.integers(HOUR_US, size=n_rows)
    order = np.argsort(offset, kind="stable")
    return Arrivals(START + offset[order].astype("timedelta64[us]"), day[order], segment[order])


def draw_quantities(rng: Generator, population: Population, segment: Integers) -> list[Floats]:
    """One lognormal column for each of the segments' spreads."""
    spreads = np.array([of.spreads for of in population.segments])[segment]
    return [median * rng.lognormal(0.0, sigma) for median, sigma in spreads.transpose(1, 2, 0)]


def keep_to(rng: Generator, codes: Integers, kept: Sequence[tuple[Mask, Integers]]) -> Integers:
    """The codes, redrawn evenly from the allowed ones where a segment keeps to these."""
    for rows, allowed in kept:
        codes[rows] = allowed[rng.integers(allowed.size, size=np.count_nonzero(rows))]
    return codes


def kept_values(population: Population, segment: Integers, field: str, names: Names) -> list[tuple[Mask, Integers]]:
    """For each segment that keeps to some values of the field: its rows, and their positions in `names`."""
    return [
        (segment == position, np.array([names.index(value) for value in of.only[field]]))
        for position, of in enumerate(population.segments)
        if field in of.only
    ]


def heavy_tail(rng: Generator, size: int) -> Floats:
    """Factors of 1, and for one row in a hundred a Pareto's."""
    return np.where(happens(rng, 10, size), 1.0 + rng.pareto(1.5, size), 1.0)


def draw_labels(rng: Generator, population: Population, segment: Integers) -> npt.NDArray[np.int8]:
    """The published labels: 4 % of the fraud unnoticed, 3 in 10,000 of the rest reported."""
    is_fraud = segment >= len(population.legitimate)
    errs = rng.integers(10_000, size=segment.size) < np.where(is_fraud, 400, 3)
    return (is_fraud ^ errs).astype(np.int8)


def draw_ids(rng: Generator, prefix: str, size: int) -> pa.Array:
    """Unique ids that carry nothing: an odd multiplier permutes the numbers below 2**40."""
    start = int(rng.integers(2**40))
    return pa.array([f"{prefix}{(start + row * 678_446_653_037) % 2**40:010x}" for row in range(size)])


def texts(names: Names, codes: Integers, missing: Mask | None = None) -> pa.Array:
    """The names at the codes, null where missing."""
    return pa.array(np.array(names, dtype=object)[codes], pa.string(), mask=missing)


def draw_chains(rng: Generator, arrivals: Arrivals) -> Integers:
    """Positions in `CHAINS`; the mix drifts, and the last one opens late."""
    day = arrivals.day
    code = pick_drifting(
        rng,
        [chain.first_weight for chain in CHAINS.values()],
        [chain.last_weight for chain in CHAINS.values()],
        day,
    )
    is_open = (day >= LATE_CHAIN_DAY) & happens(rng, 40, day.size)
    code = np.where(is_open, len(CHAINS) - 1, code)
    return keep_to(rng, code, kept_values(PAYERS, arrivals.segment, "chain", list(CHAINS)))


def draw_tokens(rng: Generator, segment: Integers, chain: Integers, names: Names) -> Integers:
    """Positions in `names` of a token that moves on the row's chain."""
    code = np.zeros(chain.size, np.int64)
    for position, on in enumerate(CHAINS.values()):
        rows = np.flatnonzero(chain == position)
        known = np.array([names.index(token) for token in on.tokens])
        code[rows] = known[pick(rng, on.tokens.values(), rows.size)]
    return keep_to(rng, code, kept_values(PAYERS, segment, "token_type", names))


def draw_transactions(n_rows: int, seed: SeedSequence) -> Drawn:
    """Transactions of the 26 weeks, in order of time."""
    rng = Generator(PCG64(seed))
    arrivals = draw_arrivals(rng, PAYERS, n_rows)
    day, segment = arrivals.day, arrivals.segment
    average, multiple, age, count, gas = draw_quantities(rng, PAYERS, segment)
    growth = 1.0 + 0.15 * day / DAYS
    amount = average * multiple * growth * heavy_tail(rng, n_rows)
    age = np.round(np.minimum(age, 6000.0), 1)

    chain = draw_chains(rng, arrivals)
    names = sorted({token for on in CHAINS.values() for token in on.tokens})
    token = draw_tokens(rng, segment, chain, names)
    countries = list(COUNTRIES)
    kept = kept_values(PAYERS, segment, "sender_country", countries)
    country = keep_to(rng, pick(rng, COUNTRIES.values(), n_rows), kept)
    usual_gas = np.array([on.gas_gwei for on in CHAINS.values()])[chain]
    gas = gas * usual_gas * rng.lognormal(0.0, 0.25, DAYS)[day]

    # Bitcoin has no gas, so its fee is often left out; a new address has no average yet.
    no_gas = happens(rng, np.where(chain == list(CHAINS).index("BTC"), 350, 12), n_rows)
    no_average = happens(rng, np.where(age < 1, 600, np.where(age < 7, 150, 20)), n_rows)
    columns = {
        "transaction_id": draw_ids(rng, "tx_", n_rows),
        "timestamp": pa.array(arrivals.time),
        "amount_usd": pa.array(np.maximum(np.round(amount, 2), 0.01)),
        "gas_price": pa.array(np.round(gas, 2), mask=no_gas),
        "tx_count_24h": pa.array(np.rint(count).astype(np.int64), mask=happens(rng, 15, n_rows)),
        "address_age_days": pa.array(age, mask=happens(rng, 30, n_rows)),
        "avg_tx_value": pa.array(np.round(average, 2), mask=no_average),
        "chain": texts(list(CHAINS), chain),
        "token_type": texts(names, token, happens(rng, 10, n_rows)),
        "sender_country": texts(countries, country, happens(rng, 30, n_rows)),
        "is_fraud": pa.array(draw_labels(rng, PAYERS, segment)),
    }
    return Drawn(pa.table(columns), np.array([of.name for of in PAYERS.segments])[segment])


def draw_items(rng: Generator, category: Integers) -> list[str]:
    """For each row an item of its category as a customer words it, or now and then junk."""
    shelves = {name: [item for item, of in items() if of == name] for name in SHELVES}
    is_junk = happens(rng, 30, category.size)
    dice = rng.integers(1_000_000, size=(category.size, 5)).tolist()
    wordings = [""] * category.size
    for position, (name, shelf) in enumerate(shelves.items()):
        rows = np.flatnonzero(category == position)
        chosen = pick(rng, [10_000 // (rank + 4) for rank in range(len(shelf))], rows.size)
        for row, item in zip(rows.tolist(), chosen.tolist(), strict=True):
            wordings[row] = customer_wording(shelf[item], name, dice[row])
    for row in np.flatnonzero(is_junk).tolist():
        wordings[row] = JUNK[dice[row][0] % len(JUNK)]
    return wordings


def draw_refunds(n_rows: int, seed: SeedSequence) -> Drawn:
    """Refund requests of the 26 weeks, in order of time."""
    rng = Generator(PCG64(seed))
    arrivals = draw_arrivals(rng, CLAIMANTS, n_rows)
    day, segment = arrivals.day, arrivals.segment
    years, rate, multiple, others = draw_quantities(rng, CLAIMANTS, segment)
    years = np.round(np.minimum(years, 16.0), 2)
    first, last, price = zip(*SHELVES.values(), strict=True)
    kept = kept_values(CLAIMANTS, segment, "category", list(SHELVES))
    category = keep_to(rng, pick_drifting(rng, first, last, day), kept)
    growth = 1.0 + 0.06 * day / DAYS
    amount = np.array(price)[category] * multiple * growth * heavy_tail(rng, n_rows)

    refunds = np.rint(rate * years).astype(np.int64)

    # Who has hardly asked for a refund before often has no history on file.
    no_refunds = happens(rng, np.where(refunds < 2, 150, 25), n_rows)
    columns = {
        "refund_id": draw_ids(rng, "rf_", n_rows),
        "requested_at": pa.array(arrivals.time),
        "years_active": pa.array(years),
        "amount": pa.array(np.maximum(np.round(amount, 2), 0.01)),
        "ip_accounts": pa.array(1 + np.rint(others).astype(np.int64)),
        "refunds": pa.array(refunds, mask=no_refunds),
        "item": pa.array(
            np.array(draw_items(rng, category), dtype=object),
            pa.string(),
            mask=happens(rng, 70, n_rows),
        ),
        "is_fraud": pa.array(draw_labels(rng, CLAIMANTS, segment)),
    }
    return Drawn(pa.table(columns), np.array([of.name for of in CLAIMANTS.segments])[segment])


def write_rows(drawn: Drawn, path: Path) -> None:
    """Write the rows as Parquet with nothing in it that names this machine.

    Zstandard at a fixed level: Snappy's bytes depend on the processor's CRC instruction.
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
    """Write the catalogue's names and categories as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows((("name", "category"), *items()))


def synthesize(out: Path, *, n_transactions: int = 300_000, n_refunds: int = 120_000) -> None:
    """Write the three files into the new folder `out`, which appears complete or not at all."""
    if out.exists():
        message = f"{out} exists already; move it away, or name another folder with --out."
        raise FileExistsError(message)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a run that died left behind
    partial.mkdir(parents=True)
    for_transactions, for_refunds = SeedSequence(SEED).spawn(2)
    write_rows(draw_transactions(n_transactions, for_transactions), partial / "transactions.parquet")
    write_rows(draw_refunds(n_refunds, for_refunds), partial / "refunds.parquet")
    write_catalogue(partial / "item_catalogue.csv")
    partial.rename(out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the synthetic data into the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Write the synthetic rows of both scorers.")
    parser.add_argument("--out", type=Path, default=Path("data"), help="a folder that is not there")
    try:
        synthesize(parser.parse_args(arguments).out)
    except FileExistsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
