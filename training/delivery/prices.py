"""AWS's prices in one region on one day, in dollars, each with the page that it was taken from.

They are those of the first tier, without the free tier, so nothing costs more.
"""

from dataclasses import dataclass, fields

DATE = "2026-11-30"
REGION = "us-east-1"
# To AWS, a GB has 2^30 bytes, and a month of hourly prices has 730 hours.
GB = 2**30
MONTH_HOURS = 730
MONTH_SECONDS = MONTH_HOURS * 3600
# An HTTP API counts at most GATEWAY_BYTES as one request; Firehose counts each record as at least FIREHOSE_BYTES.
GATEWAY_BYTES, FIREHOSE_BYTES = 512 * 1024, 5 * 1024
# CloudWatch Logs adds this many bytes to each line (PutLogEvents, CloudWatch Logs API Reference).
LINE_BYTES = 26

_CLOUDWATCH = "aws.amazon.com/cloudwatch/pricing"
_DYNAMODB = "aws.amazon.com/dynamodb/pricing/on-demand"
_FIREHOSE = "aws.amazon.com/firehose/pricing"
_LAMBDA = "aws.amazon.com/lambda/pricing"
_S3 = "aws.amazon.com/s3/pricing"
_SECRETS = "aws.amazon.com/secrets-manager/pricing"


@dataclass(frozen=True, slots=True)
class Price:
    """A price in dollars for a number of units."""

    usd: float
    per: float
    unit: str
    page: str

    def of(self, amount: float) -> float:
        """The dollars for an amount of units."""
        return amount / self.per * self.usd


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of everything that the template can create."""

    gateway: Price = Price(1.00, 1e6, "million requests to an HTTP API", "aws.amazon.com/api-gateway/pricing")
    data_out: Price = Price(0.09, 1, "GB to the internet", "aws.amazon.com/ec2/pricing/on-demand")
    invocations: Price = Price(0.20, 1e6, "million requests to Lambda", _LAMBDA)
    x86_64: Price = Price(0.0000166667, 1, "GB-second of Lambda, x86_64", _LAMBDA)
    arm64: Price = Price(0.0000133334, 1, "GB-second of Lambda, arm64", _LAMBDA)
    snapshot: Price = Price(0.0000015046, 1, "GB-second of a SnapStart snapshot, cached", _LAMBDA)
    restore: Price = Price(0.0001397998, 1, "GB of a SnapStart snapshot, restored", _LAMBDA)
    logs: Price = Price(0.50, 1, "GB of logs", _CLOUDWATCH)
    logs_kept: Price = Price(0.03, 1, "GB-month of logs kept, compressed", _CLOUDWATCH)
    metric: Price = Price(0.30, 1, "custom metric", _CLOUDWATCH)
    alarm: Price = Price(0.10, 1, "metric of an alarm", _CLOUDWATCH)
    dashboard: Price = Price(3.00, 1, "dashboard", _CLOUDWATCH)
    trace: Price = Price(5.00, 1e6, "million traces recorded", "aws.amazon.com/xray/pricing")
    firehose: Price = Price(0.029, 1, "GB to Firehose, in records of at least 5 kB", _FIREHOSE)
    decompressed: Price = Price(0.00325, 1, "GB that Firehose decompresses", _FIREHOSE)
    s3_put: Price = Price(0.005, 1e3, "thousand objects written to S3", _S3)
    s3_get: Price = Price(0.0004, 1e3, "thousand objects read from S3", _S3)
    s3_kept: Price = Price(0.023, 1, "GB-month in S3", _S3)
    table_write: Price = Price(0.625, 1e6, "million write units of DynamoDB, on demand", _DYNAMODB)
    table_read: Price = Price(0.125, 1e6, "million read units of DynamoDB, on demand", _DYNAMODB)
    table_kept: Price = Price(0.25, 1, "GB-month in DynamoDB", _DYNAMODB)
    table_backup: Price = Price(0.20, 1, "GB-month of point-in-time recovery", _DYNAMODB)
    secret: Price = Price(0.40, 1, "secret", _SECRETS)
    secret_read: Price = Price(0.05, 1e4, "ten thousand reads of secrets", _SECRETS)

    def all(self) -> list[Price]:
        """All prices, in the order of their declaration."""
        return [getattr(self, field.name) for field in fields(self)]


PRICES = Prices()
