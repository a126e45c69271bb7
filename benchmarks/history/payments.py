"""Synthetic payments with cards, devices and merchants, and a scorer with twelve history features of the three."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.declaration import ScorerDeclaration, declared_scorer

SCORER, ROUTE = "payments", "/payments"
PARAMS = """\
scorers:
  payments:
    route: /payments
    answer: probability
    data: data/payments.parquet
    id: payment_id
    time: at
    label: is_fraud
    entity: null
    fields:
      amount:   {type: money, unit: USD, min: 0, required: true}
      card:     {type: key}
      device:   {type: key}
      merchant: {type: key}
    features: {}
    history:
      warmup_days: 30
      entities:
        card:     {key: card}
        device:   {key: device}
        merchant: {key: merchant}
      features:
        card_count_1h:       {entity: card, take: count, over: 1h}
        card_count_24h:      {entity: card, take: count, over: 24h}
        card_mean_30d:       {entity: card, take: mean, field: amount, over: 30d}
        card_max_30d:        {entity: card, take: max, field: amount, over: 30d}
        card_idle:           {entity: card, take: since_last}
        card_devices_7d:     {entity: card, take: distinct, field: device, over: 7d}
        card_knows_device:   {entity: card, take: seen, field: device}
        device_count_24h:    {entity: device, take: count, over: 24h}
        device_cards_7d:     {entity: device, take: distinct, field: card, over: 7d}
        merchant_count_24h:  {entity: merchant, take: count, over: 24h}
        merchant_mean_30d:   {entity: merchant, take: mean, field: amount, over: 30d}
        merchant_risk_30d:   {entity: merchant, take: fraud_rate, over: 30d}
    split:      {test: 0.2, label_delay_days: 7}
    quarantine: {max_share: 0.01}
    compute:    {engine: local}
    folds:      {count: 3, validate_share: 0.5}
    resampling: {method: none}
    model:      {rounds: 100}
    tuning:     {mode: none}
    costs:      null
    decision:   {recall: 0.9}
    seed: 7
    gate:       {min_frauds: 20}
"""
N_ENTITIES = 3
START = 1_704_067_200  # 2024-01-01
DAYS = 365
ROWS_A_BATCH = 100_000
# The mean number of rows per entity; the most frequent entities have a multiple of it.
ROWS_A_CARD, ROWS_A_DEVICE, ROWS_A_MERCHANT = 20, 15, 1_000
FRAUD_RATE = 0.02
OTHER_DEVICE_RATE = 0.1


def scorer_in(folder: Path) -> ScorerDeclaration:
    """The scorer, whose declaration is first written to params.yaml in a folder."""
    path = folder / "params.yaml"
    path.write_text(PARAMS, encoding="utf-8")
    return declared_scorer(SCORER, path)


def batches(n_rows: int) -> Iterator[pa.RecordBatch]:
    """Valid payments in order of time; a fraud has a higher amount, and a random device, not the card's usual one."""
    draw = np.random.default_rng(3)
    for first in range(0, n_rows, ROWS_A_BATCH):
        n = min(ROWS_A_BATCH, n_rows - first)
        is_fraud = draw.random(n) < FRAUD_RATE
        # Squaring the uniform draws makes some entities much more frequent than others.
        card, merchant = (
            (draw.random(n) ** 2 * max(n_rows // rows, 1)).astype(np.int64) for rows in (ROWS_A_CARD, ROWS_A_MERCHANT)
        )
        n_devices = max(n_rows // ROWS_A_DEVICE, 1)
        usual = card * 7 % n_devices
        device = np.where(is_fraud | (draw.random(n) < OTHER_DEVICE_RATE), draw.integers(0, n_devices, n), usual)
        yield pa.record_batch(
            {
                "payment_id": [f"p{number}" for number in range(first, first + n)],
                "at": START + np.sort(first + draw.random(n) * n) / n_rows * DAYS * 86_400.0,
                "amount": np.round(draw.lognormal(3 + is_fraud, 1), 2),
                "card": [f"card {number}" for number in card.tolist()],
                "device": [f"device {number}" for number in device.tolist()],
                "merchant": [f"merchant {number}" for number in merchant.tolist()],
                "is_fraud": is_fraud.astype(np.int8),
            }
        )


def write_rows(path: Path, n_rows: int) -> None:
    """Write `n_rows` payments as a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, next(batches(1)).schema) as writer:
        for batch in batches(n_rows):
            writer.write_batch(batch)


def requests(n_rows: int) -> Iterator[dict[str, Any]]:
    """The same payments as requests."""
    for batch in batches(n_rows):
        yield from batch.drop_columns(["is_fraud"]).to_pylist()
