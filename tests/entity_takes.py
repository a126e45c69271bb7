"""A history with every kind of feature of a card, for tests of the fold and of the columns computed for all rows."""

from collections.abc import Mapping
from typing import Any

from handler.scoring.contract import Contract
from handler.scoring.fields import DeclaredField
from handler.scoring.history import DAY, History, history_of

FIELDS = {
    "card": DeclaredField(type="key"),
    "device": DeclaredField(type="key"),
    "amount": DeclaredField(type="money", unit="USD"),
    "weight": DeclaredField(type="number"),
}
DELAY, RATE = 2 * DAY, 0.125
TAKES: dict[str, dict[str, Any]] = {
    **{f"count_{over}": {"take": "count", "over": over} for over in ("1h", "24h", "7d", "30d", "90d")},
    "sum_24h": {"take": "sum", "field": "weight", "over": "24h"},
    "mean_1h": {"take": "mean", "field": "amount", "over": "1h"},
    "mean_30d": {"take": "mean", "field": "amount", "over": "30d"},
    "max_7d": {"take": "max", "field": "amount", "over": "7d"},
    "idle": {"take": "since_last"},
    "age": {"take": "since_first"},
    "devices": {"take": "distinct", "field": "device", "over": "7d", "cap": 3},
    "known": {"take": "seen", "field": "device", "cap": 4},
    "risk": {"take": "fraud_rate", "over": "7d"},
}
CARD = {"card": {"key": "card", "ttl": "90d"}}
# The same, with values that are ignored because they name no card, and a pair with one feature.
CARD_AND_PAIR = {
    "card": {"key": "card", "ttl": "90d", "ignore": ["", "none"]},
    "pair": {"key": ["card", "device"], "ttl": "30d"},
}
# The same, spread over several items of a table. No single item knows the first event, which `age` reads.
SHARDED = {name: entity | {"shards": 3} for name, entity in CARD_AND_PAIR.items()}


def declared_takes(entities: dict[str, Any], **changes: object) -> History:
    """A history of a card, and of a pair if `entities` has one; `changes` replace keys of the history block."""
    takes = TAKES.items() if "shards" not in entities["card"] else [item for item in TAKES.items() if item[0] != "age"]
    features = {name: {"entity": "card", **take} for name, take in takes}
    if "pair" in entities:
        features["pairs"] = {"entity": "pair", "take": "count", "over": "30d"}
    block = {"entities": entities, "features": features, "label_delay_days": DELAY / DAY, "usual_fraud_rate": RATE}
    history = history_of(block | changes)
    assert history is not None
    return history


def contract_of(history: History, fields: Mapping[str, DeclaredField] = FIELDS, time: str = "at") -> Contract:
    """The contract of a scorer with a history."""
    return Contract.model_validate(
        {"route": "/pay", "answer": "probability", "id": None, "time": time, "fields": dict(fields), "features": {}}
        | {"history": history},
        strict=False,
    )
