"""A footprint record (as `make bench-cost` makes it) and a template, both with round numbers."""

from training.delivery.billed_template import BilledTemplate
from training.delivery.footprint import Footprint, LogLines, MemoryFigures, ScorerTimes, TableUnits
from training.delivery.prices import GB

TIMES = {"transaction": ScorerTimes(p50_ms=1.2, p99_ms=1.9), "refund": ScorerTimes(p50_ms=1.3, p99_ms=2.0)}
FOOTPRINT = Footprint(
    machine={"date": "2026-11-30 05:00 UTC"},
    effort={},
    quota="cgroup v2",
    memory={"1024": MemoryFigures(init_ms=500.0, used_mb=60.0, scorers=TIMES, billed_ms=2.0, busy_billed_ms=3.0)},
    log={
        "system": LogLines(lines=3.0, bytes=222.0, gzipped=50.0),
        "metrics": LogLines(lines=1.0, bytes=474.0, gzipped=60.0),
        "record": LogLines(lines=1.0, bytes=974.0, gzipped=200.0),
        "access": LogLines(lines=1.0, bytes=374.0, gzipped=40.0),
    },
    metrics=18,
    response_bytes=GB / 1e6,
    table=TableUnits(writes=3.0, reads=0.5, bytes=GB / 1e6),
)
TEMPLATE = BilledTemplate(
    memory_mb=1024,
    store_seconds=30.0,
    log_days=30,
    prediction_days=365,
    access_format="",
    alarm_metrics={"": 13, "HasPredictionLog": 1, "HasModelBucket": 1, "HasHistoryTable": 1},
)
