"""Synthetic refund requests: their amounts, histories and item texts."""

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.random import PCG64, Generator, SeedSequence

from training.intake.synthetic.draws import (
    Floats,
    Integers,
    draw_amounts,
    draw_ids,
    happens,
    keep_to,
    pick,
    pick_drifting,
)
from training.intake.synthetic.item_catalogue import JUNK, customer_wording, items
from training.intake.synthetic.population import (
    Arrivals,
    Drawn,
    Population,
    Segment,
    draw_arrivals,
    draw_labels,
    draw_quantities,
    kept_values,
    segment_names,
)

# fmt: off
# Kept by hand, because this reads as a table.
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
# fmt: on

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
    n_ip_accounts: Integers
    n_refunds: Integers
    category: Integers


def draw_refunds(n_rows: int, seed: SeedSequence) -> Drawn:
    """Refund requests of the 26 weeks, in order of time."""
    rng = Generator(PCG64(seed))
    arrivals = draw_arrivals(rng, CLAIMANTS, n_rows)
    columns = draw_columns(rng, arrivals, draw_claims(rng, arrivals))
    return Drawn(pa.table(columns), segment_names(CLAIMANTS, arrivals.segment))


def draw_claims(rng: Generator, arrivals: Arrivals) -> Claims:
    """The claim and the history of each arrival."""
    years, rate, multiple, others = draw_quantities(rng, CLAIMANTS, arrivals.segment)
    years = np.round(np.minimum(years, 16.0), 2)
    category = draw_categories(rng, arrivals)
    price_usd = np.array([price for _, _, price in CATEGORIES.values()])[category]
    return Claims(
        years_active=years,
        amount_usd=draw_amounts(rng, price_usd * multiple, arrivals.day, growth=0.06),
        n_ip_accounts=1 + np.rint(others).astype(np.int64),
        n_refunds=np.rint(rate * years).astype(np.int64),
        category=category,
    )


def draw_categories(rng: Generator, arrivals: Arrivals) -> Integers:
    """Positions in `CATEGORIES`; the mix drifts."""
    first, last, _ = zip(*CATEGORIES.values(), strict=True)
    kept = kept_values(CLAIMANTS, arrivals.segment, "category", list(CATEGORIES))
    return keep_to(rng, pick_drifting(rng, first, last, arrivals.day), kept)


def draw_items(rng: Generator, category: Integers) -> list[str]:
    """For each row an item of its category in a customer's wording, or sometimes junk."""
    is_junk = happens(rng, 30, category.size).tolist()
    dice = rng.integers(1_000_000, size=(category.size, 5)).tolist()
    categories = list(CATEGORIES)
    return [
        JUNK[rolls[0] % len(JUNK)] if junk else customer_wording(name, categories[code], rolls)
        for junk, name, code, rolls in zip(is_junk, draw_names(rng, category), category.tolist(), dice, strict=True)
    ]


def draw_names(rng: Generator, category: Integers) -> list[str]:
    """For each row the name of an item of its category; a category's first items are returned most often."""
    names = np.empty(category.size, dtype=object)
    for position, category_name in enumerate(CATEGORIES):
        rows = np.flatnonzero(category == position)
        choices = np.array([name for name, kind in items() if kind == category_name], dtype=object)
        names[rows] = choices[pick(rng, [10_000 // (rank + 4) for rank in range(choices.size)], rows.size)]
    drawn: list[str] = names.tolist()
    return drawn


def draw_columns(rng: Generator, arrivals: Arrivals, claims: Claims) -> dict[str, pa.Array]:
    """The published columns; each draws in its turn, so their order is part of the data."""
    n_rows = arrivals.day.size
    # Customers with hardly any earlier refunds often have no history on file.
    no_refunds = happens(rng, np.where(claims.n_refunds <= 1, 150, 25), n_rows)
    return {
        "refund_id": draw_ids(rng, "rf_", n_rows),
        "requested_at": pa.array(arrivals.time),
        "years_active": pa.array(claims.years_active),
        "amount": pa.array(claims.amount_usd),
        "ip_accounts": pa.array(claims.n_ip_accounts),
        "refunds": pa.array(claims.n_refunds, mask=no_refunds),
        "item": pa.array(draw_items(rng, claims.category), pa.string(), mask=happens(rng, 70, n_rows)),
        "is_fraud": pa.array(draw_labels(rng, CLAIMANTS, arrivals.segment)),
    }
