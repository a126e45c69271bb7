"""Synthetic refund requests: their amounts, histories and item texts."""

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.random import PCG64, Generator, SeedSequence

from handler.scoring.fields import SECONDS_A_DAY
from training.intake.synthetic.draws import (
    DAYS,
    Arrivals,
    Drawn,
    Floats,
    Integers,
    Population,
    Segment,
    Stream,
    draw_amounts,
    draw_arrivals,
    draw_ids,
    draw_labels,
    draw_names,
    draw_quantities,
    earlier_rows,
    happens,
    keep_to,
    kept_values,
    of_customer,
    pick,
    pick_drifting,
    segment_names,
)
from training.intake.synthetic.item_catalogue import JUNK, customer_wording, items

# fmt: off
# Formatted by hand, because this reads as a table.
CLAIMANTS: Final = Population(
    legitimate=(  #                      sessions, rows, gap     years       refunds/yr  x price
        Segment("everyday",       86_200, Stream(0.7, 0.8, 3000), ((2.6, 0.9), (0.7, 0.9), (0.9, 0.6))),
        Segment("newcomer",        5_000, Stream(1.5, 1.1, 900, 60), ((0.2, 0.9), (2.0, 0.9), (0.9, 0.6))),
        Segment("generous",        3_800, Stream(3, 0.8, 3000),   ((2.4, 0.8), (4.8, 0.6), (0.9, 0.6)),
                {"category": ("Clothing", "Footwear", "Food, Perishable")}),
        Segment("shared_ip",       2_500, Stream(0.8, 0.8, 3000), ((2.2, 0.9), (0.8, 0.9), (0.9, 0.6))),
        Segment("new_device",      1_000, Stream(0.7, 0.8, 900), ((0.3, 0.9), (1.5, 0.9), (2.6, 0.5)),
                {"category": ("Electronics",)}),
    ),
    fraud=(
        Segment("serial_refunder",   450, Stream(5, 1.2, 1500),  ((1.8, 0.8), (8.0, 0.7), (1.3, 0.6))),
        Segment("account_farm",      350, Stream(1.5, 1.1, 600, 20), ((0.6, 1.0), (2.5, 0.9), (1.3, 0.6))),
        Segment("quick_electronics", 350, Stream(1, 1.3, 900, 10), ((0.25, 0.9), (2.0, 0.9), (3.6, 0.6)),
                {"category": ("Electronics",)}),
        Segment("never_arrived",     350, Stream(4, 1.2, 2000, 60), ((1.3, 0.8), (7.5, 0.7), (1.5, 0.5)),
                {"category": ("Food, Perishable",)}),
    ),
    late_fraud=(
        Segment("aged_account",      300, Stream(1, 1.3, 900),   ((3.6, 0.4), (1.2, 0.8), (2.6, 0.6)),
                {"category": ("Jewelry & Watches", "Digital Goods")}),
    ),
    weekdays=(118, 108, 102, 98, 96, 88, 90),
)
# fmt: on

# A request comes from the IP address of the household, of a carrier with many customers behind it, of an office, or of
# an account farm, which changes its address after some days.
FROM_CARRIER, FROM_OFFICE, FROM_FARM = 80, 850, 800  # in thousandths of other, office and farm requests
N_CARRIERS, N_OFFICES, FARMS_A_PERIOD, FARM_DAYS = 300, 30, 1, 14
IP_SECONDS, IP_STEP, IP_CAP = 30 * SECONDS_A_DAY, SECONDS_A_DAY, 64

# A category's weight among refunds on the first and the last day, and the usual price in dollars.
CATEGORIES: Final = {
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


class Claims(NamedTuple):
    """The rows before anything goes missing; categories are positions in `CATEGORIES`."""

    years_active: Floats
    amount_usd: Floats
    ip: Integers
    n_refunds: Integers
    category: Integers


def draw_refunds(n_rows: int, seed: SeedSequence) -> Drawn:
    """Refund requests of the 26 weeks, in order of time."""
    rng = Generator(PCG64(seed))
    arrivals = draw_arrivals(rng, CLAIMANTS, n_rows)
    columns = draw_refund_columns(rng, arrivals, draw_claims(rng, arrivals))
    return Drawn(pa.table(columns), segment_names(CLAIMANTS, arrivals.segment))


def draw_claims(rng: Generator, arrivals: Arrivals) -> Claims:
    """The claim and the history of each arrival."""
    years, rate, multiple = draw_quantities(rng, CLAIMANTS, arrivals.segment)
    years = of_customer(arrivals, np.round(np.minimum(years, 16.0), 2))
    # The refunds before the 26 weeks, and those since then, which are all earlier rows of the account.
    n_before = np.rint(of_customer(arrivals, rate) * years).astype(np.int64)
    since = earlier_rows(arrivals.customer, arrivals.seconds, over=DAYS * SECONDS_A_DAY, step=1)
    years = np.round(years + (arrivals.seconds - of_customer(arrivals, arrivals.seconds)) / (365 * SECONDS_A_DAY), 2)
    category = draw_item_categories(rng, arrivals)
    price_usd = np.array([price for _, _, price in CATEGORIES.values()])[category]
    return Claims(
        years_active=years,
        amount_usd=draw_amounts(rng, price_usd * multiple, arrivals.day, growth=0.06),
        ip=draw_ips(rng, arrivals),
        n_refunds=n_before + since.end - since.begin,
        category=category,
    )


def draw_ips(rng: Generator, arrivals: Arrivals) -> Integers:
    """The number of the IP address that each refund request comes from."""
    n_rows, names = arrivals.day.size, [kind.name for kind in CLAIMANTS.segments]
    is_office = arrivals.segment == names.index("shared_ip")
    is_farm = arrivals.segment == names.index("account_farm")
    die = rng.integers(1000, size=n_rows)
    carrier = pick(rng, [2_000 // (rank + 10) for rank in range(N_CARRIERS)], n_rows)
    office = N_CARRIERS + arrivals.customer % N_OFFICES
    farm = N_CARRIERS + N_OFFICES + arrivals.day // FARM_DAYS * FARMS_A_PERIOD + arrivals.customer % FARMS_A_PERIOD
    # Two customers in nine share a household.
    home = N_CARRIERS + N_OFFICES + (DAYS // FARM_DAYS + 1) * FARMS_A_PERIOD + arrivals.customer * 8 // 9
    is_away = die < np.select([is_office, is_farm], [FROM_OFFICE, FROM_FARM], FROM_CARRIER)
    return np.where(is_away, np.select([is_office, is_farm], [office, farm], carrier), home)


def accounts_before(arrivals: Arrivals, ip: Integers) -> Integers:
    """How many accounts used the IP address of each refund request in the 30 days before, at most 64.

    The window begins at a full day, like that of `history` in params.yaml.
    """
    earlier = earlier_rows(ip, arrivals.seconds, IP_SECONDS, IP_STEP)
    account = arrivals.customer[earlier.order].tolist()
    bounds = zip(earlier.begin.tolist(), earlier.end.tolist(), strict=True)
    return np.array([min(len(set(account[begin:end])), IP_CAP) for begin, end in bounds])


def draw_item_categories(rng: Generator, arrivals: Arrivals) -> Integers:
    """The category of each returned item, as a position in `CATEGORIES`; the mix drifts."""
    first, last, _ = zip(*CATEGORIES.values(), strict=True)
    kept = kept_values(CLAIMANTS, arrivals.segment, "category", list(CATEGORIES))
    return keep_to(rng, pick_drifting(rng, first, last, arrivals.day), kept)


def draw_items(rng: Generator, category: Integers) -> list[str]:
    """For each refund request an item of its category in a customer's wording, or sometimes junk."""
    is_junk = happens(rng, 30, category.size).tolist()
    dice = rng.integers(1_000_000, size=(category.size, 5)).tolist()
    categories = list(CATEGORIES)
    return [
        JUNK[rolls[0] % len(JUNK)] if junk else customer_wording(name, categories[code], rolls)
        for junk, name, code, rolls in zip(
            is_junk, draw_item_names(rng, category), category.tolist(), dice, strict=True
        )
    ]


def draw_item_names(rng: Generator, category: Integers) -> list[str]:
    """For each refund request the name of an item of its category; a category's first items are returned most often."""
    names = np.empty(category.size, dtype=object)
    for position, category_name in enumerate(CATEGORIES):
        rows = np.flatnonzero(category == position)
        choices = np.array([name for name, kind in items() if kind == category_name], dtype=object)
        names[rows] = choices[pick(rng, [10_000 // (rank + 4) for rank in range(choices.size)], rows.size)]
    drawn: list[str] = names.tolist()
    return drawn


def draw_refund_columns(rng: Generator, arrivals: Arrivals, claims: Claims) -> dict[str, pa.Array]:
    """The published columns; they are drawn one after the other, so their order determines the data."""
    n_rows = arrivals.day.size
    # Customers with hardly any earlier refunds often have no history on file.
    no_refunds = happens(rng, np.where(claims.n_refunds <= 1, 150, 25), n_rows)
    return {
        "refund_id": draw_ids(rng, "rf_", n_rows),
        "requested_at": pa.array(arrivals.time),
        "account_id": draw_names(rng, "ac_", arrivals.customer),
        "ip_address": draw_names(rng, "ip_", claims.ip),
        "years_active": pa.array(claims.years_active),
        "amount": pa.array(claims.amount_usd),
        "ip_accounts": pa.array(accounts_before(arrivals, claims.ip)),
        "refunds": pa.array(claims.n_refunds, mask=no_refunds),
        "item": pa.array(draw_items(rng, claims.category), pa.string(), mask=happens(rng, 70, n_rows)),
        "is_fraud": pa.array(draw_labels(rng, CLAIMANTS, arrivals.segment)),
    }
