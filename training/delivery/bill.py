"""What a deployment of template.yaml costs in a month, line by line, for a number of requests.

Milliseconds, bytes and units are those that `make bench-cost` measured and recorded. What cannot be measured without
AWS is assumed by constants of this module.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from training.delivery.billed_template import ALWAYS, BilledTemplate
from training.delivery.footprint import MEASURE, Footprint, LogLines
from training.delivery.prices import DATE, FIREHOSE_BYTES, GB, MONTH_HOURS, MONTH_SECONDS, PRICES, REGION, Prices
from training.errors import StageError, counted

MILLION = 1_000_000
PROCESSORS = ("x86_64", "arm64")
HEAD = ("", "", *PROCESSORS)
# Assumed, because Lambda does not promise how long it keeps an environment. Each new one is restored from the snapshot.
ENVIRONMENT_HOURS = 2
# How many versions have a snapshot and metrics of their own: only the live one.
VERSIONS = 1
# AWS promises single-digit milliseconds for DynamoDB; the function waits for it, and Lambda bills the wait.
WAIT_MS = 5.0
# How long the template's delivery stream buffers records.
DELIVERY_SECONDS = 300
# X-Ray's default rule: the first request of each second, and this share of the others.
TRACED_SHARE = 0.05
MONTH_DAYS = MONTH_HOURS / 24
PREDICTION_LOG, MODEL_BUCKET = "PredictionLog=create", "ModelBucket=create"
HISTORY_TABLE, SECRETS = "HistoryTable=create", "PredictionsKeyArn, HistoryKeyArn"
TRACING, DASHBOARD = "Tracing=Active", "Dashboard=create"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the bill, in dollars a month for each processor."""

    what: str
    amount: str
    x86_64: float
    arm64: float
    option: str = ""
    """The template parameter that causes it; empty if it is part of the default deployment."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Dollars a month for each processor."""

    x86_64: float
    arm64: float


def lambda_usd(requests: float, billed_ms: float, memory_mb: int, prices: Prices = PRICES) -> tuple[float, float]:
    """The dollars for the time of requests, on x86_64 and arm64.

    >>> x86_64, arm64 = lambda_usd(1_000_000, 2.0, 512)
    >>> round(x86_64, 6), round(arm64, 6)
    (0.016667, 0.013333)
    """
    seconds = gb_seconds(requests, billed_ms, memory_mb)
    return prices.x86_64.of(seconds), prices.arm64.of(seconds)


def gb_seconds(requests: float, billed_ms: float, memory_mb: int) -> float:
    """The unit that Lambda bills: seconds times GB of memory."""
    return requests * billed_ms / 1e3 * memory_mb / 1024


def lines_of(
    requests: int, footprint: Footprint, template: BilledTemplate, prices: Prices = PRICES
) -> tuple[Line, ...]:
    """All lines, first those of the default deployment; raises StageError for a memory size that was not measured."""
    usage = Usage(requests, footprint, template, prices)
    return (
        *usage.gateway(),
        *usage.function(),
        *usage.logs(),
        *usage.monitoring(),
        *usage.prediction_log(),
        *usage.model_bucket(),
        *usage.history_table(),
        *usage.others(),
    )


def totals_of(lines: tuple[Line, ...], *, with_options: bool) -> Totals:
    """The sums of the lines of the default deployment, or of all lines."""
    summed = [line for line in lines if with_options or not line.option]
    return Totals(sum(line.x86_64 for line in summed), sum(line.arm64 for line in summed))


def _same(what: str, amount: str, usd: float, option: str = "") -> Line:
    """A line that costs the same on both processors."""
    return Line(what, amount, usd, usd, option)


class Usage:
    """What a number of requests in a month uses, and what that costs."""

    def __init__(self, requests: int, footprint: Footprint, template: BilledTemplate, prices: Prices = PRICES) -> None:
        """Take the measurement of the template's memory size; raises StageError if there is none."""
        self.requests, self.footprint, self.template, self.prices = requests, footprint, template, prices
        figures = footprint.memory.get(str(template.memory_mb))
        if figures is None:
            raise StageError(
                f"template.yaml's MemorySize is {template.memory_mb}, but reports/footprint.json has only "
                f"{', '.join(footprint.memory)}; add it to MEMORY_MB in benchmarks/serving/footprint.py, and run "
                f"`{MEASURE}`"
            )
        self.billed_ms = figures.billed_ms
        self.memory_gb = template.memory_mb / 1024
        # As many as work at once on average, rounded up.
        self.environments = ceil(requests * self.billed_ms / 1e3 / MONTH_SECONDS)
        self.starts = self.environments * MONTH_HOURS / ENVIRONMENT_HOURS

    def gateway(self) -> Iterator[Line]:
        """API Gateway, and the data sent to the internet."""
        requests = f"{self.requests:,} requests"
        yield _same("API Gateway, HTTP API", requests, self.prices.gateway.of(self.requests))
        out = self.requests * self.footprint.response_bytes / GB
        yield _same("answers to the internet", f"{out:.3g} GB", self.prices.data_out.of(out))

    def function(self) -> Iterator[Line]:
        """Lambda."""
        yield _same("Lambda, requests", f"{self.requests:,} requests", self.prices.invocations.of(self.requests))
        seconds = gb_seconds(self.requests, self.billed_ms, self.template.memory_mb)
        amount = f"{self.billed_ms:.2f} ms each: {seconds:,.0f} GB-s"
        usd = lambda_usd(self.requests, self.billed_ms, self.template.memory_mb, self.prices)
        yield Line(f"Lambda, time at {self.template.memory_mb} MB", amount, *usd)
        cached = VERSIONS * self.memory_gb * MONTH_SECONDS
        yield _same("SnapStart, snapshot cached", counted(VERSIONS, "version"), self.prices.snapshot.of(cached))
        restored = self.starts * self.memory_gb
        yield _same("SnapStart, restored", f"{self.starts:,.0f} times", self.prices.restore.of(restored))

    def logs(self) -> Iterator[Line]:
        """The function's log and the access log, without records of predictions."""
        names = {
            "system": "function's log: START, END, REPORT",
            "metrics": "function's log: lines of metrics",
            "access": "access log",
        }
        for kind, what in names.items():
            yield self._ingested(what, self.footprint.log[kind])
        kept = sum(self.footprint.log[kind].gzipped for kind in names)
        yield self._kept("logs", kept)

    def monitoring(self) -> Iterator[Line]:
        """CloudWatch's metrics and alarms."""
        n_metrics = VERSIONS * self.footprint.metrics
        yield _same("CloudWatch, custom metrics", counted(n_metrics, "metric"), self.prices.metric.of(n_metrics))
        yield self._alarms(ALWAYS, "")

    def prediction_log(self) -> Iterator[Line]:
        """Records of predictions: in the function's log, through Firehose, in their bucket."""
        record = self.footprint.log["record"]
        yield self._ingested("function's log: records of predictions", record, PREDICTION_LOG)
        yield self._kept("records in the log", record.gzipped, PREDICTION_LOG)
        # An upper bound: CloudWatch may send several lines in one record.
        size = self.requests * FIREHOSE_BYTES / GB
        usd = self.prices.firehose.of(size)
        yield _same("Firehose, at most a record a request", f"{size:.3g} GB", usd, PREDICTION_LOG)
        size = self.requests * record.bytes / GB
        yield _same("Firehose, decompressed", f"{size:.3g} GB", self.prices.decompressed.of(size), PREDICTION_LOG)
        # One object each time the buffer is emptied.
        written = min(self.requests, MONTH_SECONDS / DELIVERY_SECONDS)
        usd = self.prices.s3_put.of(written)
        yield _same("S3, objects written", counted(round(written), "object"), usd, PREDICTION_LOG)
        # When the bucket has reached its final size.
        size = self.requests * record.gzipped * self.template.prediction_days / MONTH_DAYS / GB
        what = f"S3, kept for {self.template.prediction_days} days"
        yield _same(what, f"{size:.3g} GB", self.prices.s3_kept.of(size), PREDICTION_LOG)
        yield self._alarms("HasPredictionLog", PREDICTION_LOG)

    def model_bucket(self) -> Iterator[Line]:
        """The store of releases: each environment reads the pointer of each scorer every few seconds."""
        scorers = len(next(iter(self.footprint.memory.values())).scorers)
        reads = self.environments * scorers * MONTH_SECONDS / self.template.store_seconds
        yield _same("S3, pointers read", f"{reads:,.0f} reads", self.prices.s3_get.of(reads), MODEL_BUCKET)
        yield self._alarms("HasModelBucket", MODEL_BUCKET)

    def history_table(self) -> Iterator[Line]:
        """The table of pasts; its assumed size is that of a month's requests in which no key occurs twice."""
        table = self.footprint.table
        writes, reads = self.requests * table.writes, self.requests * table.reads
        yield _same("DynamoDB, writes", f"{writes:,.0f} units", self.prices.table_write.of(writes), HISTORY_TABLE)
        yield _same("DynamoDB, reads", f"{reads:,.0f} units", self.prices.table_read.of(reads), HISTORY_TABLE)
        size = self.requests * table.bytes / GB
        usd = self.prices.table_kept.of(size) + self.prices.table_backup.of(size)
        yield _same("DynamoDB, kept and backed up", f"{size:.3g} GB", usd, HISTORY_TABLE)
        waited = lambda_usd(self.requests, WAIT_MS, self.template.memory_mb, self.prices)
        yield Line("Lambda, waiting for DynamoDB", f"{WAIT_MS:g} ms each, assumed", *waited, HISTORY_TABLE)
        yield self._alarms("HasHistoryTable", HISTORY_TABLE)

    def others(self) -> Iterator[Line]:
        """Secrets, traces, a dashboard."""
        secrets = 2
        usd = self.prices.secret.of(secrets) + self.prices.secret_read.of(self.starts * secrets)
        yield _same("Secrets Manager", f"{secrets} secrets", usd, SECRETS)
        traces = self._traces()
        yield _same("X-Ray, traces recorded", counted(round(traces), "trace"), self.prices.trace.of(traces), TRACING)
        yield _same("CloudWatch, dashboard", "1 dashboard", self.prices.dashboard.of(1), DASHBOARD)

    def _traces(self) -> float:
        """How many requests X-Ray's default rule records, if they arrive evenly."""
        always = min(self.requests, MONTH_SECONDS)
        return always + TRACED_SHARE * (self.requests - always)

    def _ingested(self, what: str, lines: LogLines, option: str = "") -> Line:
        size = self.requests * lines.paid_bytes / GB
        amount = f"{lines.paid_bytes:,.0f} bytes each: {size:.3g} GB"
        return _same(what, amount, self.prices.logs.of(size), option)

    def _kept(self, what: str, gzipped: float, option: str = "") -> Line:
        """The line for logs that CloudWatch keeps; its compression is not documented, so gzip stands in for it."""
        size = self.requests * gzipped / GB * self.template.log_days / MONTH_DAYS
        usd = self.prices.logs_kept.of(size)
        return _same(f"{what}, kept for {self.template.log_days} days", f"{size:.3g} GB", usd, option)

    def _alarms(self, condition: str, option: str) -> Line:
        read = self.template.alarm_metrics.get(condition, 0)
        return _same("CloudWatch, alarms", f"{counted(read, 'metric')} read", self.prices.alarm.of(read), option)


def bill_text(requests: int, footprint: Footprint, template: BilledTemplate) -> str:
    """The bill as text with aligned columns."""
    lines = lines_of(requests, footprint, template)
    rows = [HEAD, *(_cells(line) for line in lines if not line.option), _total(lines, with_options=False)]
    option = ""
    for line in lines:
        if line.option and line.option != option:
            option = line.option
            rows.append((f"not in the default deployment, {option}:", "", "", ""))
        if line.option:
            rows.append(_cells(line))
    rows.append(_total(lines, with_options=True))
    measured = str(footprint.machine["date"]).split()[0]
    head = (
        f"USD a month for {requests:,} requests at {template.memory_mb} MB; {REGION}, prices of {DATE}, measured on "
        f"{measured} on x86_64; arm64 is assumed to take the same milliseconds"
    )
    end = "Prices are those of the first tier; free tiers are left out. docs/cost.md says what is assumed."
    return "\n".join([head, *_aligned(rows), end])


def _cells(line: Line) -> tuple[str, str, str, str]:
    return line.what, line.amount, f"{line.x86_64:.4f}", f"{line.arm64:.4f}"


def _total(lines: tuple[Line, ...], *, with_options: bool) -> tuple[str, str, str, str]:
    totals = totals_of(lines, with_options=with_options)
    name = "total with every option" if with_options else "total of the default deployment"
    return name, "", f"{totals.x86_64:.2f}", f"{totals.arm64:.2f}"


def _aligned(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """The rows with aligned columns; a line that names an option is not padded."""
    widths = [max(len(row[column]) for row in rows if row[3]) for column in range(len(HEAD))]
    return [
        f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
        if row[3]
        else row[0]
        for row in rows
    ]
