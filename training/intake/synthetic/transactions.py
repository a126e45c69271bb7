"""Synthetic transactions: their amounts, chains, tokens and countries."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.random import PCG64, Generator, SeedSequence

from handler.scoring.fields import SECONDS_A_DAY, SECONDS_AN_HOUR
from training.intake.synthetic.draws import (
    DAYS,
    Arrivals,
    Drawn,
    Floats,
    Integers,
    Mask,
    Names,
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
    is_fraudster,
    keep_to,
    kept_values,
    of_customer,
    pick,
    pick_drifting,
    segment_names,
    texts,
)

LATE_CHAIN_DAY: Final = 140


class Chain(NamedTuple):
    """A chain's weight on the first and on the last day, its usual gas price, and the weights of its tokens."""

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
TOKENS: Final = tuple(sorted({token for chain in CHAINS.values() for token in chain.tokens}))

CORRIDOR: Final[dict[str, Names]] = {
    "chain": ("TRON",),
    "token_type": ("USDT",),
    "sender_country": ("PT", "CL", "MY"),
}
NEW_CHAIN: Final[dict[str, Names]] = {"chain": ("MONAD",), "token_type": ("USDC", "MON")}

# fmt: off
# Formatted by hand, because these read as tables.
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
    legitimate=(  #                      sessions, rows, gap      average_usd  x average   age_days    x usual gas
        Segment("everyday",       79_550, Stream(14, 1.2, 90),    ((95, 1.3),  (0.9, 0.9), (900, 1.0), (1.0, 0.4))),
        Segment("newcomer",        7_000, Stream(3, 1.4, 60, 40), ((70, 1.1),  (1.0, 1.0), (2, 1.2),   (1.1, 0.4))),
        Segment("exchange",        3_000, Stream(4, 90, 4),       ((400, 1.0), (0.9, 1.2), (1500, 0.6), (1.1, 0.4))),
        Segment("trader",          3_000, Stream(12, 8, 25),      ((350, 1.1), (1.2, 1.0), (800, 1.0), (2.3, 0.5))),
        Segment("whale",           2_000, Stream(10, 3, 120),     ((9e3, 1.2), (1.2, 1.1), (1300, 0.8), (1.3, 0.5))),
        Segment("big_purchase",    2_000, Stream(host="everyday"), ((90, 1.0), (7, 0.7),   (900, 1.0), (1.1, 0.4))),
        Segment("airdrop_hunter",  1_200, Stream(3, 12, 10, 30),  ((25, 1.0),  (1.2, 0.9), (6, 1.0),   (1.2, 0.5))),
        Segment("remittance",      1_250, Stream(8, 1.1, 300),    ((180, 0.8), (1.1, 0.6), (700, 0.8), (1.0, 0.4)),
                CORRIDOR),
    ),
    fraud=(
        Segment("account_takeover",  300, Stream(1, 3, 12, host="everyday"),
                ((90, 1.1), (12, 0.8), (900, 1.0), (1.7, 0.5))),
        Segment("fresh_burst",       280, Stream(1, 8, 6, 5),     ((60, 0.9),  (6, 0.9),   (2.2, 0.9), (1.5, 0.5))),
        Segment("hurried_cash_out",  220, Stream(1.2, 3, 8, 10),  ((400, 1.0), (3, 0.8),   (70, 1.0),  (5.5, 0.5))),
        Segment("corridor",          200, Stream(2, 3, 40, 20),   ((300, 0.9), (2, 0.8),   (50, 1.0),  (1.3, 0.4)),
                CORRIDOR),
    ),
    late_fraud=(
        Segment("dormant_address",   220, Stream(1, 2, 45),       ((150, 0.9), (2.8, 0.7), (900, 0.4), (1.7, 0.4)),
                NEW_CHAIN),
    ),
    weekdays=(104, 106, 105, 104, 108, 90, 83),
)
# fmt: on

N_MERCHANTS: Final = 1_500
CONTACTS: Final = 3  # addresses that a sender pays again and again
# In thousandths: how often a payment goes to a merchant and to a contact; the others go to new addresses.
TO_MERCHANT, TO_CONTACT = 600, 270
# Fraudsters collect at addresses that they use for some days; sometimes they buy something.
MULES_A_PERIOD, MULE_DAYS = 24, 12
TO_MULE, FRAUD_TO_MERCHANT = 650, 150
COUNT_SECONDS, COUNT_STEP = SECONDS_A_DAY, SECONDS_AN_HOUR
MEAN_SECONDS, MEAN_STEP = 30 * SECONDS_A_DAY, SECONDS_A_DAY


class Payments(NamedTuple):
    """The rows before anything goes missing; chain, token and country are positions in their names."""

    amount_usd: Floats
    gas_gwei: Floats
    receiver: Integers
    age_days: Floats
    chain: Integers
    token: Integers
    country: Integers


def draw_transactions(n_rows: int, seed: SeedSequence) -> Drawn:
    """Transactions of the 26 weeks, in order of time."""
    rng = Generator(PCG64(seed))
    arrivals = draw_arrivals(rng, PAYERS, n_rows)
    columns = draw_transaction_columns(rng, arrivals, draw_payments(rng, arrivals))
    return Drawn(pa.table(columns), segment_names(PAYERS, arrivals.segment))


def draw_payments(rng: Generator, arrivals: Arrivals) -> Payments:
    """The payment of each arrival."""
    average, multiple, age, gas = draw_quantities(rng, PAYERS, arrivals.segment)
    average = of_customer(arrivals, average)
    amount = draw_amounts(rng, average * multiple, arrivals.day, growth=0.15)
    chain = draw_chains(rng, arrivals)
    token = draw_tokens(rng, arrivals.segment, chain)
    country = draw_countries(rng, arrivals)
    since_first = (arrivals.seconds - of_customer(arrivals, arrivals.seconds)) / SECONDS_A_DAY
    return Payments(
        amount_usd=amount,
        gas_gwei=draw_gas(rng, gas, chain, arrivals.day),
        receiver=draw_receivers(rng, arrivals),
        age_days=np.round(np.minimum(np.round(of_customer(arrivals, age), 1) + since_first, 6000.0), 1),
        chain=chain,
        token=token,
        country=country,
    )


def draw_receivers(rng: Generator, arrivals: Arrivals) -> Integers:
    """The number of each payment's receiver: a merchant, a contact of the sender, a mule, or somebody new."""
    n_rows = arrivals.day.size
    weights = [20_000 // (rank + 20) for rank in range(N_MERCHANTS)]
    merchant = pick(rng, weights, n_rows)
    contact = N_MERCHANTS + arrivals.customer * CONTACTS + rng.integers(CONTACTS, size=n_rows)
    first_mule = N_MERCHANTS + arrivals.n_customers * CONTACTS
    mule = first_mule + arrivals.day // MULE_DAYS * MULES_A_PERIOD + rng.integers(MULES_A_PERIOD, size=n_rows)
    new = first_mule + (DAYS // MULE_DAYS + 1) * MULES_A_PERIOD + np.arange(n_rows)
    is_fraud, die = is_fraudster(PAYERS, arrivals.segment), rng.integers(1000, size=n_rows)
    return np.where(
        is_fraud,
        np.select([die < TO_MULE, die < TO_MULE + FRAUD_TO_MERCHANT], [mule, merchant], new),
        np.select([die < TO_MERCHANT, die < TO_MERCHANT + TO_CONTACT], [merchant, contact], new),
    )


def draw_chains(rng: Generator, arrivals: Arrivals) -> Integers:
    """Positions in `CHAINS`; the mix drifts, and the last one opens late."""
    day = arrivals.day
    first = [chain.first_weight for chain in CHAINS.values()]
    last = [chain.last_weight for chain in CHAINS.values()]
    code = pick_drifting(rng, first, last, day)
    is_open = (day >= LATE_CHAIN_DAY) & happens(rng, 40, day.size)
    code = np.where(is_open, len(CHAINS) - 1, code)
    return keep_to(rng, code, kept_values(PAYERS, arrivals.segment, "chain", list(CHAINS)))


def draw_tokens(rng: Generator, segment: Integers, chain: Integers) -> Integers:
    """Positions in `TOKENS` of a token of the row's chain."""
    code = np.zeros(chain.size, np.int64)
    for position, kind in enumerate(CHAINS.values()):
        rows = np.flatnonzero(chain == position)
        choices = np.array([TOKENS.index(token) for token in kind.tokens])
        code[rows] = choices[pick(rng, kind.tokens.values(), rows.size)]
    return keep_to(rng, code, kept_values(PAYERS, segment, "token_type", TOKENS))


def draw_countries(rng: Generator, arrivals: Arrivals) -> Integers:
    """The country of each payment's sender, as a position in `COUNTRIES`; each sender has one."""
    kept = kept_values(PAYERS, arrivals.segment, "sender_country", list(COUNTRIES))
    drawn = keep_to(rng, pick(rng, COUNTRIES.values(), arrivals.segment.size), kept)
    return of_customer(arrivals, drawn)


def draw_gas(rng: Generator, multiple: Floats, chain: Integers, day: Integers) -> Floats:
    """Gas prices in gwei: a multiple of the chain's usual price, which varies by the day."""
    usual_gwei: Floats = np.array([kind.gas_gwei for kind in CHAINS.values()])[chain]
    return np.round(multiple * usual_gwei * rng.lognormal(0.0, 0.25, DAYS)[day], 2)


def draw_gaps(rng: Generator, payments: Payments) -> Mask:
    """The rows without a gas price: Bitcoin has no gas, so its fee is often left out."""
    is_bitcoin = payments.chain == list(CHAINS).index("BTC")
    return happens(rng, np.where(is_bitcoin, 350, 12), is_bitcoin.size)


def sent_before(arrivals: Arrivals, amount_usd: Floats) -> tuple[Integers, Floats, Mask]:
    """Each sender's earlier payments: their number in 24 hours, their average in 30 days, and which rows have none.

    Windows begin at a full hour and a full day, like those of `history` in params.yaml.
    """
    day = earlier_rows(arrivals.customer, arrivals.seconds, COUNT_SECONDS, COUNT_STEP)
    month = earlier_rows(arrivals.customer, arrivals.seconds, MEAN_SECONDS, MEAN_STEP)
    cents = np.rint(amount_usd[month.order] * 100).astype(np.int64)
    total = np.concatenate([[0], np.cumsum(cents)])
    n_paid = month.end - month.begin
    average = (total[month.end] - total[month.begin]) / np.maximum(100 * n_paid, 1)
    return day.end - day.begin, average, n_paid == 0


def draw_transaction_columns(rng: Generator, arrivals: Arrivals, payments: Payments) -> dict[str, pa.Array]:
    """The published columns; they are drawn one after the other, so their order determines the data."""
    n_rows = arrivals.day.size
    no_gas = draw_gaps(rng, payments)
    n_last_24h, average, is_first = sent_before(arrivals, payments.amount_usd)
    return {
        "transaction_id": draw_ids(rng, "tx_", n_rows),
        "timestamp": pa.array(arrivals.time),
        "sender_address": draw_names(rng, "0x", arrivals.customer),
        "receiver_address": draw_names(rng, "0x", payments.receiver),
        "amount_usd": pa.array(payments.amount_usd),
        "gas_price": pa.array(payments.gas_gwei, mask=no_gas),
        "tx_count_24h": pa.array(n_last_24h, mask=happens(rng, 15, n_rows)),
        "address_age_days": pa.array(payments.age_days, mask=happens(rng, 30, n_rows)),
        "avg_tx_value": pa.array(average, mask=is_first | happens(rng, 20, n_rows)),
        "chain": texts(list(CHAINS), payments.chain),
        "token_type": texts(TOKENS, payments.token, happens(rng, 10, n_rows)),
        "sender_country": texts(list(COUNTRIES), payments.country, happens(rng, 30, n_rows)),
        "is_fraud": pa.array(draw_labels(rng, PAYERS, arrivals.segment)),
    }
