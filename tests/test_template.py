"""The template as SAM translates it and CloudFormation would make it, for several sets of parameters."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from handler.records import telemetry
from training.delivery import template
from training.delivery.template import ROOT, SAM_PYTHON, RefusedParameterError, deployed

if not SAM_PYTHON.exists():
    pytest.skip("there is no .venv-sam; `make test` installs it", allow_module_level=True)

JWT = {"Authorizer": "JWT", "JwtIssuer": "https://issuer.example/tenant", "JwtAudience": "fraud,console"}
CORS = {"CorsOrigins": "https://console.example,http://localhost:3000"}
KEY_ARN = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SECRET_ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:fraud/key-a1B2c3"  # noqa: S105 - its name
PARAMETER_ARN = "arn:aws:ssm:eu-central-1:123456789012:parameter/fraud/history-key"
STORES = {
    "ModelBucket": "create",
    "PredictionLog": "create",
    "HistoryTable": "create",
    "HistoryTableKeyArn": KEY_ARN,
    "PredictionsKeyArn": SECRET_ARN,
    "HistoryKeyArn": PARAMETER_ARN,
    "SecretsKeyArn": KEY_ARN,
}
EXTRAS = {
    "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:on-call",
    "ReservedConcurrency": "10",
    "WarmUp": "enabled",
    "SnapStart": "None",
    "Deployment": "AllAtOnce",
    "Tracing": "Active",
    "Dashboard": "create",
}
AUTHORIZERS: tuple[dict[str, str], ...] = ({}, JWT, {"Authorizer": "NONE"})
SETS = tuple(
    {**authorizer, **cors, **others}
    for authorizer, cors, others in product(AUTHORIZERS, ({}, CORS), ({}, {**STORES, **EXTRAS}))
)
PREFLIGHT = ("OPTIONS /{proxy+}", "NONE")
OPEN_DOCS = {"GET /docs", "GET /openapi.json"}


@pytest.fixture(
    params=SETS, ids=lambda given: " ".join(f"{name}={value}" for name, value in given.items()) or "defaults"
)
def given(request: pytest.FixtureRequest) -> dict[str, str]:
    """A set of parameters."""
    return request.param


@pytest.fixture
def resources(given: dict[str, str]) -> dict[str, Any]:
    """The resources that a set of parameters creates."""
    return deployed(given)["Resources"]


@cache
def source() -> Mapping[str, Any]:
    """The template as it is written."""
    return YAML().load(ROOT / "template.yaml")


def of_type(resources: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The properties of every resource of a type, by logical id."""
    return {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == kind}


def only(resources: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The properties of the one resource of a type."""
    (properties,) = of_type(resources, kind).values()
    return properties


def statements(resources: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every statement of every policy that an identity has."""
    roles = of_type(resources, "AWS::IAM::Role").values()
    policies = [policy for role in roles for policy in role.get("Policies", [])]
    policies += of_type(resources, "AWS::IAM::RolePolicy").values()
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def referred(value: object) -> Iterator[str]:
    """The logical id of everything that a value refers to."""
    if isinstance(value, list):
        for item in value:
            yield from referred(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key == "Ref":
            yield item
        elif key == "Fn::GetAtt":
            yield item[0] if isinstance(item, list) else item.split(".")[0]
        elif key == "Fn::Sub":
            text, names = item if isinstance(item, list) else (item, {})
            yield from (name for name in re.findall(r"\$\{([A-Za-z0-9:]+)[.}]", text) if name not in names)
            yield from referred(names)
        else:
            yield from referred(item)


def test_nothing_refers_to_what_is_not_made(given: dict[str, str]) -> None:
    """No condition removes a resource to which something still refers."""
    stack = deployed(given)
    names = set(referred([stack["Resources"], stack["Outputs"]]))
    assert {name for name in names if not name.startswith("AWS::")} <= stack["Resources"].keys()


def test_every_route_is_authorized_but_the_preflight(given: dict[str, str], resources: dict[str, Any]) -> None:
    """A route without authorization exists only for a browser's OPTIONS, or where the parameter is NONE.

    A JWT authorizer exists only where the parameter is JWT: API Gateway asks its issuer for keys when it is made.
    """
    authorizer = given.get("Authorizer", "AWS_IAM")
    keys = {
        (route["RouteKey"], route["AuthorizationType"])
        for route in of_type(resources, "AWS::ApiGatewayV2::Route").values()
    }
    preflights = {(key, authorization) for key, authorization in keys if key.startswith("OPTIONS ")}
    assert {authorization for _, authorization in keys - preflights} == {authorizer}
    # A route for ANY would also match its path's preflights, which therefore have a route of their own.
    nearer = {key.replace("ANY ", "OPTIONS ") for key, _ in keys if key.startswith("ANY ")}
    expected = {PREFLIGHT, *((key, "NONE") for key in nearer)} if "CorsOrigins" in given else set()
    assert preflights == expected
    assert len(of_type(resources, "AWS::ApiGatewayV2::Authorizer")) == (authorizer == "JWT")


@pytest.mark.parametrize("authorizer", AUTHORIZERS)
def test_open_documentation_opens_nothing_else(authorizer: dict[str, str]) -> None:
    """Everyone may read the contracts, in a browser, with a rate of their own; all else is authorized as before."""
    stack = deployed(authorizer | {"DocsAccess": "open"})
    assert set(referred(stack["Resources"]["HttpStage"])) <= stack["Resources"].keys()
    routes = {
        route["RouteKey"]: route["AuthorizationType"]
        for route in of_type(stack["Resources"], "AWS::ApiGatewayV2::Route").values()
    }
    assert {key for key, authorization in routes.items() if authorization == "NONE"} >= OPEN_DOCS
    assert {routes[key] for key in routes.keys() - OPEN_DOCS} == {authorizer.get("Authorizer", "AWS_IAM")}
    assert only(stack["Resources"], "AWS::ApiGatewayV2::Stage")["RouteSettings"].keys() == routes.keys() - {
        "$default",
        "ANY /{proxy+}",
    }


def test_doors_are_apart(given: dict[str, str], resources: dict[str, Any]) -> None:
    """Labels, thresholds and documentation have routes of their own.

    They also have their own scopes and rates. The function refuses them by any other route, which might require less.
    """
    scopes = {
        "ScoreScope": "fraud/score",
        "OutcomesScope": "fraud/label",
        "ModelsScope": "fraud/audit",
        "DocsScope": "fraud/read",
    }
    is_by_token = given.get("Authorizer") == "JWT"
    of_stack = deployed(given | scopes)["Resources"] if is_by_token else resources
    routes = {route["RouteKey"]: route for route in of_type(of_stack, "AWS::ApiGatewayV2::Route").values()}
    # Routes have other keys if tokens are required, so that a stack can change its authorizer.
    methods = ("ANY", "ANY") if is_by_token else ("POST", "GET")
    own = {
        f"{methods[0]} /outcomes": "fraud/label",
        f"{methods[1]} /models/{{scorer}}": "fraud/audit",
        f"{methods[1]} /docs": "fraud/read",
        f"{methods[1]} /openapi.json": "fraud/read",
    }
    every = "ANY /{proxy+}" if is_by_token else "$default"
    for key, scope in {**own, every: "fraud/score"}.items():
        assert routes[key].get("AuthorizationScopes") == ([scope] if is_by_token else None)
    assert {key for key in routes if not key.startswith("OPTIONS ")} == {every, *own}
    stage = only(of_stack, "AWS::ApiGatewayV2::Stage")
    assert stage["RouteSettings"] == {
        key: {"ThrottlingRateLimit": rate, "ThrottlingBurstLimit": rate}
        for key, rate in zip(own, ("20", "5", "5", "5"), strict=True)
    }
    (variables,) = [
        function["Environment"]["Variables"] for function in of_type(of_stack, "AWS::Lambda::Function").values()
    ]
    assert variables["OWN_ROUTES"] == "POST /outcomes,GET /models,GET /docs,GET /openapi.json"
    if not is_by_token:
        with pytest.raises(RefusedParameterError, match="ModelsScope and DocsScope have no effect"):
            deployed(given | {"OutcomesScope": "fraud/label"})


def test_the_stage_limits_and_logs(resources: dict[str, Any]) -> None:
    """Rate and burst are limited; the access log is kept for a while and holds nothing of address, query or body."""
    stage = only(resources, "AWS::ApiGatewayV2::Stage")
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": "100", "ThrottlingBurstLimit": "200"}
    logged = set(re.findall(r"\$context\.([A-Za-z.]+)", stage["AccessLogSettings"]["Format"]))
    # The signer or the subject of the token is kept for audits; nothing else of the caller is.
    callers = {"identity.userArn", "authorizer.claims.sub"}
    assert {"status"} | callers <= logged
    assert not [
        name for name in logged - callers if re.search("identity|query|claims|userAgent|ip", name, re.IGNORECASE)
    ]
    for group in of_type(resources, "AWS::Logs::LogGroup").values():
        assert group["RetentionInDays"] == "30"


def metrics_of(alarm: Mapping[str, Any]) -> set[tuple[str, str, str, frozenset[tuple[str, str]]]]:
    """Namespace, name, statistic and dimensions of every metric that an alarm reads."""
    metrics = [
        {**item["MetricStat"]["Metric"], **item["MetricStat"]}
        for item in alarm.get("Metrics", ())
        if "MetricStat" in item
    ] or [alarm]
    return {
        (
            metric["Namespace"],
            metric["MetricName"],
            metric.get("Stat") or metric.get("Statistic") or metric["ExtendedStatistic"],
            frozenset((dimension["Name"], json.dumps(dimension["Value"])) for dimension in metric["Dimensions"]),
        )
        for metric in metrics
    }


def test_alarms_of_the_new_version_roll_back(resources: dict[str, Any]) -> None:
    """CodeDeploy watches failures, duration, and flagged and blocked shares of the version that is being deployed."""
    group = only(resources, "AWS::CodeDeploy::DeploymentGroup")
    watched = {alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]}
    assert group["AlarmConfiguration"]["Enabled"] is True
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    (version,) = of_type(resources, "AWS::Lambda::Version")
    function = ("FunctionName", json.dumps({"Ref": "FraudFunction"}))
    number = json.dumps({"Fn::GetAtt": [version, "Version"]})
    live = ("Resource", json.dumps({"Fn::Sub": "${FraudFunction}:live"}))
    by_lambda = frozenset({function, live, ("ExecutedVersion", number)})
    by_telemetry = frozenset(zip(telemetry.BY_VERSION, (function[1], number), strict=True))
    assert {name: metrics_of(resources[name]["Properties"]) for name in watched} == {
        "NewVersionErrors": {
            ("AWS/Lambda", "Errors", "Sum", by_lambda),
            (telemetry.NAMESPACE, telemetry.FAILED, "Sum", by_telemetry),
        },
        "NewVersionDuration": {("AWS/Lambda", "Duration", "p99", by_lambda)},
        "NewVersionFlagged": {
            (telemetry.NAMESPACE, telemetry.FLAGGED, "Sum", by_telemetry),
            (telemetry.NAMESPACE, telemetry.SCORED, "Sum", by_telemetry),
        },
        "NewVersionBands": {
            (telemetry.NAMESPACE, metric, "Sum", by_telemetry)
            for metric in (telemetry.FLAGGED, telemetry.BLOCKED, telemetry.SCORED)
        },
        "NewVersionBesideRunning": {
            (telemetry.NAMESPACE, metric, "Sum", dimensions)
            for metric in (telemetry.FLAGGED, telemetry.SCORED)
            for dimensions in (by_telemetry, frozenset({function}))
        },
    }
    # CloudWatch computes an alarm from ten metrics at most, and CodeDeploy watches ten alarms at most.
    assert all(len(resources[name]["Properties"].get("Metrics", ())) <= 10 for name in watched)
    # Each version has new alarms, so none is ringing already when its deployment begins.
    for name in watched:
        assert resources[name]["Properties"]["AlarmName"]["Fn::Sub"][1] == {"Version": json.loads(number)}


@pytest.mark.parametrize(
    ("scored", "flagged", "blocked", "n_beyond"),
    [
        (1_800, 0, 18, 0),
        (1_801, 0, 100, 1),
        (100_000, 432, 1_000, 1),
        (100_000, 434, 1_000, 0),
        (100_000, 6_000, 905, 1),
        (100_000, 6_000, 906, 0),
        (100_000, 20_000, 10_001, 1),
        (49, 40, 40, 0),
        (100_000, 0, 0, 2),
    ],
)
def test_too_few_decisions_ring(scored: int, flagged: int, blocked: int, n_beyond: int) -> None:
    """An alarm rings if a share is three standard deviations below its limit, or too much is blocked.

    Little traffic never rings. At least 1 % must be blocked here. The expression is read by CloudWatch's grammar.
    """
    shares = {"MinFlaggedShare": 0.005, "MinBlockedShare": 0.01, "MaxBlockedShare": 0.1}
    counts = {"scored": scored, "flagged": flagged, "blocked": blocked}
    assert computed("NewVersionBands", shares, counts) == n_beyond


def computed(alarm: str, parameters: Mapping[str, float], counts: Mapping[str, float]) -> float:
    """The value of an alarm's expressions for these sums of its metrics, evaluated by CloudWatch's grammar."""
    template = source()
    names: dict[str, Any] = {**counts, "FILL": lambda value, _: value}
    names["choose"] = lambda condition, true, false: true if condition else false
    # CloudWatch refuses an IF whose condition has only constants.
    constant = re.compile(r"IF\([^a-z(]*,")
    metrics = template["Resources"][alarm]["Properties"]["Metrics"]
    # Each expression uses only metrics and expressions below it; the first one is the result.
    for item in reversed(metrics):
        if "Expression" in item:
            expression = str(getattr(item["Expression"], "value", item["Expression"]))
            for name, value in parameters.items():
                expression = expression.replace(f"${{{name}}}", str(value))
            assert not constant.search(expression)
            for ours, python in ((" AND ", " and "), ("^", "**"), ("IF(", "choose(")):
                expression = expression.replace(ours, python)
            names[item["Id"]] = eval(" ".join(expression.split()), {"__builtins__": {}}, names)  # noqa: S307 - the template's own
    return float(names[metrics[0]["Id"]])


@pytest.mark.parametrize(
    ("scored", "flagged", "rest", "flags", "rings"),
    [
        # The rest flags 1 %: half of that would be 50 of 10,000; three deviations of both counts are 21.8.
        (10_000, 29, 90_000, 900, False),
        (10_000, 28, 90_000, 900, True),
        (10_000, 100, 90_000, 900, False),
        # Three times as many would be 301; three deviations 60.
        (10_000, 361, 90_000, 900, False),
        (10_000, 362, 90_000, 900, True),
        # Too little traffic says nothing, neither here nor in the rest.
        (100, 0, 900, 9, False),
        (10, 0, 49, 40, False),
        # If the rest flags nothing, the first few flags here are no reason to ring.
        (1_000, 4, 9_000, 0, False),
        (1_000, 5, 9_000, 0, True),
        (1_000, 1_000, 9_000, 0, True),
    ],
)
def test_a_version_is_compared_with_the_running_one(
    scored: int, flagged: int, rest: int, flags: int, *, rings: bool
) -> None:
    """It rings below half or above three times the flagged share of the rest, by three standard deviations."""
    counts = {"scored": scored, "flagged": flagged, "every": scored + rest, "flags": flagged + flags}
    ratios = {"MinFlaggedRatio": 0.5, "MaxFlaggedRatio": 3}
    assert computed("NewVersionBesideRunning", ratios, counts) == rings
    off = computed("NewVersionBesideRunning", {"MinFlaggedRatio": 0, "MaxFlaggedRatio": 0}, counts)
    assert off == 0


@pytest.mark.parametrize("alarm", ["Errors", "ApiErrors"])
@pytest.mark.parametrize(
    ("failed", "every", "share"), [(1, 1, 0), (1, 10_000, 0), (2, 3, 2 / 3), (2, 1_000, 0.002), (100, 1_000, 0.1)]
)
def test_one_error_at_night_wakes_nobody(alarm: str, failed: int, every: int, share: float) -> None:
    """Only from the second error within 15 minutes on is the share of errors compared with the declared one."""
    assert computed(alarm, {}, {"failed": failed, "every": every}) == share
    assert deployed({"MaxErrorShare": "0.02"})["Resources"][alarm]["Properties"]["Threshold"] == "0.02"


def test_the_dashboard_shows_what_is_measured(given: dict[str, str], resources: dict[str, Any]) -> None:
    """Every metric is one that the function writes, Lambda or API Gateway; no two widgets overlap."""
    boards = of_type(resources, "AWS::CloudWatch::Dashboard")
    assert len(boards) == ("Dashboard" in given)
    for board in boards.values():
        widgets = json.loads(board["DashboardBody"]["Fn::Sub"])["widgets"]
        shown = {tuple(metric[:3]) for widget in widgets for metric in widget["properties"]["metrics"] if metric[1:]}
        ours = {name for namespace, name, _ in shown if namespace == telemetry.NAMESPACE}
        counted = {telemetry.SCORED, telemetry.FLAGGED, telemetry.WARNED, telemetry.BLOCKED, telemetry.COLD_START}
        of_stores = {telemetry.SWAPPED, telemetry.REFUSED, telemetry.STORE_FAILED, telemetry.TROUBLE}
        assert ours == counted | of_stores | {telemetry.UNANSWERED, telemetry.UNREAD, *telemetry.MEASURED}
        assert {(namespace, dimension) for namespace, _, dimension in shown} == {
            (telemetry.NAMESPACE, *telemetry.BY_FUNCTION),
            ("AWS/Lambda", "FunctionName"),
            ("AWS/ApiGateway", "ApiId"),
        }
        places = [
            (widget["x"] + dx, widget["y"] + dy)
            for widget in widgets
            for dx in range(widget["width"])
            for dy in range(widget["height"])
        ]
        assert len(places) == len(set(places))
        assert max(x for x, _ in places) < 24
        searched = re.findall(r"SEARCH\('\{([^}]+)\}", board["DashboardBody"]["Fn::Sub"])
        assert set(searched) == {",".join((telemetry.NAMESPACE, *telemetry.BY_SCORER))}


def test_records_alone_go_on_to_the_bucket(given: dict[str, str], resources: dict[str, Any]) -> None:
    """Predictions and outcomes say `scorer`; the metrics, which nobody would read there, say `Scorer`."""
    filters = of_type(resources, "AWS::Logs::SubscriptionFilter")
    assert [item["FilterPattern"] for item in filters.values()] == ["{ $.scorer = * }"] * ("PredictionLog" in given)
    assert telemetry.BY_SCORER[1] == "Scorer"


def test_traces_are_kept_by_parameter(given: dict[str, str], resources: dict[str, Any]) -> None:
    """The function may write to X-Ray only if the parameter is set."""
    is_traced = "Tracing" in given
    mode = only(resources, "AWS::Lambda::Function")["TracingConfig"]["Mode"]
    assert mode == ("Active" if is_traced else "PassThrough")
    actions = [action for statement in statements(resources) for action in statement["Action"]]
    assert ("xray:PutTraceSegments" in actions) == is_traced


def test_alarms_remain_after_a_deployment(given: dict[str, str], resources: dict[str, Any]) -> None:
    """Lambda no longer counts by version then, so other alarms read its totals and what the function counts."""
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    remaining = {name for name, alarm in alarms.items() if "AlarmName" not in alarm} - {"PredictionsLate"}
    of_stores = {
        "StoreTrouble": {(telemetry.NAMESPACE, telemetry.TROUBLE, "Sum")},
        "HistoryTrouble": {(telemetry.NAMESPACE, telemetry.UNANSWERED, "Sum")},
    }
    read = {name: {metric[:3] for metric in metrics_of(alarms[name])} for name in remaining}
    expected = of_stores if "ModelBucket" in given else {}
    assert {name: metrics for name, metrics in read.items() if name in of_stores} == expected
    assert set().union(*(metrics for name, metrics in read.items() if name not in of_stores)) == {
        ("AWS/ApiGateway", "5xx", "Sum"),
        ("AWS/ApiGateway", "Count", "Sum"),
        ("AWS/Lambda", "Duration", "p99"),
        ("AWS/Lambda", "Errors", "Sum"),
        ("AWS/Lambda", "Invocations", "Sum"),
        ("AWS/Lambda", "Throttles", "Sum"),
        (telemetry.NAMESPACE, telemetry.UNREAD, "Sum"),
    }


def test_traffic_moves_in_the_declared_steps(given: dict[str, str], resources: dict[str, Any]) -> None:
    """CodeDeploy moves the alias, which the API calls; versions are kept, so that it can be pointed back at one."""
    config = only(resources, "AWS::CodeDeploy::DeploymentGroup")["DeploymentConfigName"]
    assert config["Fn::Sub"][1]["ConfigName"] == given.get("Deployment", "Canary10Percent5Minutes")
    (alias,) = (resource for resource in resources.values() if resource["Type"] == "AWS::Lambda::Alias")
    assert "CodeDeployLambdaAliasUpdate" in alias["UpdatePolicy"]
    uri = only(resources, "AWS::ApiGatewayV2::Integration")["IntegrationUri"]["Fn::Sub"]
    assert uri.endswith(f"${{FraudFunction.Arn}}:{alias['Properties']['Name']}/invocations")
    (version,) = (resource for resource in resources.values() if resource["Type"] == "AWS::Lambda::Version")
    assert version["DeletionPolicy"] == "Retain"


def test_who_may_call_the_alias(given: dict[str, str], resources: dict[str, Any]) -> None:
    """The API may, and so may the schedule if there is one; each from one source."""
    permissions = of_type(resources, "AWS::Lambda::Permission").values()
    expected = {"apigateway.amazonaws.com"} | ({"events.amazonaws.com"} if "WarmUp" in given else set())
    assert {permission["Principal"] for permission in permissions} == expected
    assert all(permission["SourceArn"] for permission in permissions)


def test_alarms_notify_the_topic(given: dict[str, str], resources: dict[str, Any]) -> None:
    """Every alarm has the topic as its action, or none where there is no topic."""
    alarms = of_type(resources, "AWS::CloudWatch::Alarm").values()
    assert len(alarms) >= 5
    for alarm in alarms:
        assert alarm.get("AlarmActions") == ([given["AlarmTopicArn"]] if "AlarmTopicArn" in given else None)


def test_no_role_reaches_everything(resources: dict[str, Any]) -> None:
    """Every statement names its actions and its resources."""
    for statement in statements(resources):
        actions, targets = (
            value if isinstance(value, list) else [value] for value in (statement["Action"], statement["Resource"])
        )
        assert statement["Effect"] == "Allow"
        assert not [action for action in actions if "*" in action]
        # X-Ray's actions cannot be limited to resources.
        assert "*" not in targets or all(action.startswith("xray:Put") for action in actions)


def test_the_function_may_only_write_its_log(given: dict[str, str], resources: dict[str, Any]) -> None:
    """Beyond its log it may read models and keys, read and update pasts, and write traces, if they are configured."""
    role = resources["FunctionRole"]["Properties"]
    assert "ManagedPolicyArns" not in role
    writing, *reading = role["Policies"]
    (statement,) = writing["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"] == {"Fn::GetAtt": ["FunctionLog", "Arn"]}
    assert not of_type(resources, "AWS::IAM::RolePolicy")
    allowed = {
        (action, str(item["Resource"]))
        for policy in reading
        for item in policy["PolicyDocument"]["Statement"]
        for action in ([item["Action"]] if isinstance(item["Action"], str) else item["Action"])
    }
    table = {"Fn::GetAtt": ["PastStore", "Arn"]}
    stores = {
        ("s3:GetObject", str({"Fn::Sub": "${ModelStore.Arn}/*"})),
        ("s3:ListBucket", str({"Fn::GetAtt": ["ModelStore", "Arn"]})),
        *((f"dynamodb:{operation}", str(table)) for operation in ("GetItem", "BatchGetItem", "UpdateItem")),
        ("kms:Decrypt", KEY_ARN),
        *product(("xray:PutTraceSegments", "xray:PutTelemetryRecords"), ("*",)),
        *product(("secretsmanager:GetSecretValue", "ssm:GetParameter"), (SECRET_ARN, PARAMETER_ARN)),
    }
    assert allowed == (stores if "ModelBucket" in given else set())


def test_parameters_reach_the_function(given: dict[str, str], resources: dict[str, Any]) -> None:
    """Without buckets it has no store and records nothing.

    A reserved concurrency of 0 reserves nothing, instead of shutting the function off. Function and gateway have the
    same CORS origins; if none are given, there is no CORS.
    """
    function = only(resources, "AWS::Lambda::Function")
    variables, origins = function["Environment"]["Variables"], given.get("CorsOrigins", "")
    store, target = ({"Fn::Sub": "s3://${ModelStore}"}, "stdout") if "ModelBucket" in given else ("", "")
    assert (variables["STORE"], variables["PREDICTIONS"], variables["CORS_ORIGINS"]) == (store, target, origins)
    assert variables["PREDICTIONS_KEY_ARN"] == given.get("PredictionsKeyArn", "")
    assert variables["HISTORY_KEY_ARN"] == given.get("HistoryKeyArn", "")
    assert not {"PREDICTIONS_KEY", "HISTORY_KEY"} & variables.keys()
    assert variables["HISTORY"] == ({"Fn::Sub": "dynamodb://${PastStore}"} if "HistoryTable" in given else "")
    assert function.get("ReservedConcurrentExecutions") == given.get("ReservedConcurrency")
    assert function["SnapStart"] == {"ApplyOn": given.get("SnapStart", "PublishedVersions")}
    cors = only(resources, "AWS::ApiGatewayV2::Api").get("CorsConfiguration")
    assert (cors and cors["AllowOrigins"]) == (origins.split(",") if origins else None)


def test_the_longest_settings_fit_a_versions_description() -> None:
    """It may have 256 characters, and must have every setting: a change of one would otherwise publish no version."""
    template = source()
    parameters = template["Parameters"]
    text, letters = template["Resources"]["FraudFunction"]["Properties"]["VersionDescription"]
    length = len(re.sub(r"\$\{\w+\}", "", text)) + len(letters)
    for name in set(re.findall(r"\$\{(\w+)\}", text)) - letters.keys():
        declared = parameters[name]
        values = [str(value) for value in (*declared.get("AllowedValues", []), declared.get("MaxValue", ""))]
        values.append(str(declared.get("MinValue", "")))
        length += declared.get("MaxLength") or max(map(len, values))
    assert length <= 256


def test_buckets_are_private(given: dict[str, str], resources: dict[str, Any]) -> None:
    """Encrypted, versioned, blocked to the public, TLS only, tidied up, and kept when the stack is deleted."""
    buckets = of_type(resources, "AWS::S3::Bucket")
    assert len(buckets) == 2 * ("ModelBucket" in given)
    policies = {policy["Bucket"]["Ref"]: policy for policy in of_type(resources, "AWS::S3::BucketPolicy").values()}
    for name, bucket in buckets.items():
        assert resources[name]["DeletionPolicy"] == resources[name]["UpdateReplacePolicy"] == "Retain"
        assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert all(rule["AbortIncompleteMultipartUpload"] for rule in bucket["LifecycleConfiguration"]["Rules"])
        (statement,) = policies[name]["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": False}}
        assert statement["Resource"] == [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]


def test_the_table_of_pasts_is_kept_and_healed(given: dict[str, str], resources: dict[str, Any]) -> None:
    """On demand, encrypted by the key of the parameter, restorable, with expiry, and kept when the stack is deleted."""
    tables = of_type(resources, "AWS::DynamoDB::Table")
    assert len(tables) == ("HistoryTable" in given)
    for name, table in tables.items():
        assert resources[name]["DeletionPolicy"] == resources[name]["UpdateReplacePolicy"] == "Retain"
        assert table == {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "B"}],
            "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
            "TimeToLiveSpecification": {"AttributeName": "x", "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "DeletionProtectionEnabled": True,
            "SSESpecification": {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY_ARN},
        }
    alone = only(deployed({"HistoryTable": "create"})["Resources"], "AWS::DynamoDB::Table")
    assert "SSESpecification" not in alone


def test_outputs_name_what_was_made(given: dict[str, str]) -> None:
    """They name buckets only if they exist; the curl line fits the authorizer."""
    outputs = deployed(given)["Outputs"]
    assert {"Url", "FunctionAlias", "Curl"} <= outputs.keys()
    names = {"ModelBucketName", "PredictionBucketName", "HistoryTableName", "DashboardName"}
    assert (names & outputs.keys()) == (names if "ModelBucket" in given else set())
    line = str(outputs["Curl"]["Value"])
    assert ("--aws-sigv4" in line) == ("Authorizer" not in given)
    assert ("Bearer" in line) == (given.get("Authorizer") == "JWT")


def test_the_architecture_is_the_artifacts(tmp_path: Path) -> None:
    """The function has it; CloudFormation refuses an artifact for another processor before it changes anything."""
    arm64 = tmp_path / "template.yaml"
    text = (ROOT / "template.yaml").read_text()
    arm64.write_text(text.replace("[!Ref Architecture, x86_64]", "[!Ref Architecture, arm64]"))
    function = only(deployed({"Architecture": "arm64"}, template=arm64)["Resources"], "AWS::Lambda::Function")
    assert function["Architectures"] == ["arm64"]
    for architecture, path in (("arm64", ROOT / "template.yaml"), ("x86_64", arm64)):
        with pytest.raises(RefusedParameterError, match="for another processor"):
            deployed({"Architecture": architecture}, template=path)


@pytest.mark.parametrize(
    "change",
    [
        {"MemorySize": "1024"},
        {"SnapStart": "None"},
        {"CorsOrigins": "https://console.example"},
        {"BasePath": "/fraud"},
        {"PredictionsRate": "0.25"},
        {"StoreBudgetMs": "80"},
        {"Revision": "2"},
        {"Tracing": "Active"},
        STORES,
    ],
)
def test_a_change_of_settings_publishes_a_version(change: dict[str, str]) -> None:
    """A new description replaces the version; otherwise the alias would keep the old settings."""
    before, after = (only(deployed(given)["Resources"], "AWS::Lambda::Version") for given in ({}, change))
    assert before["Description"] != after["Description"]
    assert len(after["Description"]) <= 256


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ({"Authorizer": "JWT"}, "needs JwtIssuer"),
        ({"Authorizer": "JWT", "JwtIssuer": "https://issuer.example"}, "needs JwtAudience"),
        ({"JwtIssuer": "https://issuer.example"}, "no effect without Authorizer=JWT"),
        ({"Authorizer": "NONE", "JwtAudience": "fraud"}, "no effect without Authorizer=JWT"),
        ({**JWT, "JwtIssuer": "http://issuer.example"}, "JwtIssuer is .* must be the issuer's address"),
        ({**JWT, "JwtAudience": "a, b"}, "JwtAudience is .* without spaces"),
        ({"CorsOrigins": "https://console.example/path"}, "CorsOrigins is .* without spaces or paths"),
        ({"CorsOrigins": "https://" + "a" * 200}, "CorsOrigins is"),
        ({"StorePublicKey": "AAAA"}, "no effect without ModelBucket=create"),
        ({"ModelBucket": "create", "StorePublicKey": "key.pem"}, "StorePublicKey is .* must be an Ed25519 public key"),
        ({"HistoryTableKeyArn": KEY_ARN}, "no effect without HistoryTable=create"),
        ({"HistoryTable": "create", "HistoryTableKeyArn": "alias/fraud"}, "must be the ARN of a KMS key"),
        ({"HistoryKeyArn": SECRET_ARN}, "HistoryKeyArn has no effect without HistoryTable=create"),
        ({"SecretsKeyArn": KEY_ARN}, "no effect without PredictionsKeyArn or HistoryKeyArn"),
        ({"PredictionsKeyArn": "the key itself"}, "PredictionsKeyArn is .* must be the ARN of a secret"),
        ({"BasePath": "fraud"}, "BasePath is .* must begin with /"),
        ({"PredictionsRate": "0"}, "PredictionsRate is '0'"),
        ({"StoreSeconds": "0"}, "StoreSeconds is '0'"),
        ({"AlarmTopicArn": "on-call"}, "AlarmTopicArn is .* must be the ARN of an SNS topic"),
        ({**JWT, "DocsScope": "fraud/read", "DocsAccess": "open"}, "DocsScope has no effect with DocsAccess=open"),
        ({"MaxErrorShare": "1.5"}, "MaxErrorShare is '1.5'"),
        ({"MinFlaggedRatio": "2"}, "MinFlaggedRatio is '2'"),
        ({"MaxFlaggedRatio": "0.5"}, "MaxFlaggedRatio is .* must be 0, or a number from 1"),
        ({"StoreBudgetMs": "2.5"}, "StoreBudgetMs is .* must be a whole number"),
        ({"Tracing": "on"}, "Tracing is 'on'"),
        ({"Authorizer": "none"}, "Authorizer is 'none'"),
        ({"MemorySize": "128"}, "MemorySize is '128'"),
        ({"Memory": "512"}, "no parameter Memory"),
    ],
)
def test_an_impossible_parameter_is_refused(refused: dict[str, str], message: str) -> None:
    """The sentence says what would be right."""
    with pytest.raises(RefusedParameterError, match=message):
        deployed(refused)


def test_every_parameter_is_documented() -> None:
    """docs/deploy.md lists it with its default."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    declared = dict(
        re.findall(r"^  (\w+):\n    Type: .*\n    Default: (.*)$", (ROOT / "template.yaml").read_text(), re.MULTILINE)
    )
    assert len(declared) == 46
    for name, default in declared.items():
        shown = default.strip('"')
        assert re.search(rf"^\| `{name}` \| {re.escape(shown) or 'none'} \|", page, re.MULTILINE), name


def test_the_command_writes_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m training.delivery.template`, for the linters."""
    out = tmp_path / "folder" / "template.json"
    monkeypatch.setattr(sys, "argv", ["template", str(out), "ModelBucket=create"])
    template.main()
    assert '"ModelStore"' in out.read_text()
