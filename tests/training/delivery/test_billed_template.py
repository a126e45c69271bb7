"""What the template says about things that cost money."""

from pathlib import Path

from training.delivery.billed_template import billed_template

SMALL = """\
Parameters:
  MemorySize: {Type: Number, Default: 256}
  StoreSeconds: {Type: Number, Default: 10}
  LogRetentionDays: {Type: Number, Default: 7}
  PredictionLogDays: {Type: Number, Default: 90}
Resources:
  HttpStage:
    Type: AWS::ApiGatewayV2::Stage
    Properties:
      AccessLogSettings: {DestinationArn: !GetAtt Log.Arn, Format: '{"id": "$context.requestId"}'}
  Slow:
    Type: AWS::CloudWatch::Alarm
    Properties: {Namespace: AWS/Lambda, MetricName: Duration, Threshold: !Ref StoreSeconds}
  Share:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Metrics:
        - {Id: share, Expression: flagged / scored}
        - {Id: flagged, MetricStat: {Stat: Sum}}
        - {Id: scored, MetricStat: {Stat: Sum}}
  Late:
    Type: AWS::CloudWatch::Alarm
    Condition: HasPredictionLog
    Properties: {Namespace: AWS/Firehose, MetricName: DeliveryToS3.DataFreshness}
"""


def test_small_template(tmp_path: Path) -> None:
    """Defaults are read as numbers, and an alarm with an expression counts the metrics that it reads."""
    path = tmp_path / "template.yaml"
    path.write_text(SMALL)
    read = billed_template(path)
    assert (read.memory_mb, read.store_seconds, read.log_days, read.prediction_days) == (256, 10.0, 7, 90)
    assert read.access_format == '{"id": "$context.requestId"}'
    assert read.alarm_metrics == {"": 3, "HasPredictionLog": 1}


def test_the_templates_alarms_are_counted() -> None:
    """The alarms' conditions are those for which the bill has lines."""
    read = billed_template()
    assert read.alarm_metrics.keys() == {"", "HasPredictionLog", "HasModelBucket", "HasHistoryTable"}
    assert read.alarm_metrics[""] > 10
    assert "$context.requestTime" in read.access_format
