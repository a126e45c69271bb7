"""The ways in which records of predictions could reach their bucket, and what each costs."""

from collections.abc import Mapping

from training.delivery.bill import Usage
from training.delivery.billed_template import BilledTemplate
from training.delivery.footprint import Footprint
from training.delivery.prices import GB, PRICES, Prices


def log_designs(
    requests: int, footprint: Footprint, template: BilledTemplate, prices: Prices = PRICES
) -> Mapping[str, float]:
    """Dollars a month, on x86_64, for the records of predictions by the ways in which they could reach their bucket."""
    usage = Usage(requests, footprint, template, prices)
    record, metrics, system = (footprint.log[kind] for kind in ("record", "metrics", "system"))
    today = sum(line.x86_64 for line in usage.prediction_log())
    spared = prices.decompressed.of(requests * metrics.bytes / GB)
    spared += usage.stored(metrics.gzipped, "").x86_64
    alarm = prices.alarm.of(template.alarm_metrics.get("HasPredictionLog", 0))
    direct = [usage.streamed(""), usage.waited("Firehose", ""), usage.objects(""), usage.stored(record.gzipped, "")]
    # Everything goes to S3, the lines of metrics and of Lambda too, at half the price; CloudWatch keeps nothing.
    paid = {kind: requests * lines.paid_bytes / GB for kind, lines in footprint.log.items() if kind != "access"}
    delivered = prices.logs_to_s3.of(sum(paid.values())) - prices.logs.of(paid["system"] + paid["metrics"])
    delivered -= usage.logs_kept("", metrics.gzipped + system.gzipped).x86_64
    everything = usage.stored(record.gzipped + metrics.gzipped + system.gzipped, "").x86_64
    return {
        "today": today,
        "narrowed": today - spared,
        "direct": sum(line.x86_64 for line in direct) + alarm,
        "delivery": delivered + usage.objects("").x86_64 + everything,
    }
