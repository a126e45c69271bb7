"""The template as CloudFormation would deploy it with given parameters: translated by SAM, conditions resolved.

`python -m training.delivery.template OUT NAME=VALUE ...` writes it as JSON, for linters that do not resolve
conditions. `declared_environment` reads a built template.
"""

import argparse
import atexit
import json
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"
SAM_PYTHON = ROOT / ".venv-sam" / "bin" / "python"
# SAM's translator lives in an environment of its own. The code's address stands in for what `sam deploy` uploads.
# Importing the translator takes a second, a translation a twentieth of that, so one process translates line by line.
_TRANSLATE = """
import json, logging, sys
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
logging.disable()
class Policies:
    def load(self):
        name = "AWSCodeDeployRoleForLambda"
        return {name: "arn:aws:iam::aws:policy/service-role/" + name}
for line in sys.stdin:
    path, parameters = json.loads(line)
    template = yaml_parse(open(path, encoding="utf-8").read())
    for resource in template["Resources"].values():
        if "CodeUri" in resource.get("Properties", {}):
            resource["Properties"]["CodeUri"] = "s3://bucket/artifact"
    print(json.dumps(transform(template, parameters, Policies())), flush=True)
"""
_REGION = "eu-central-1"  # the translator requires one; nothing here depends on which
_NO_VALUE = object()


class RefusedParameterError(ValueError):
    """Raised when CloudFormation would refuse a parameter, or a combination of them, before it creates anything."""


def deployed(parameters: Mapping[str, str], *, template: Path = TEMPLATE) -> dict[str, Any]:
    """The template as CloudFormation would deploy it with these parameters, and defaults for the others.

    References to resources stay as they are. Raises RefusedParameterError, with the template's own message.
    """
    declared = translated(template)
    values = _parameter_values(declared["Parameters"], parameters)
    _check_rules(declared["Rules"], values)
    translation = translated(template, **parameters)
    conditions = translation.get("Conditions", {})
    result = {
        key: value for key, value in translation.items() if key not in {"Parameters", "Rules", "Conditions", "Metadata"}
    }
    for section in ("Resources", "Outputs"):
        result[section] = {
            name: _decided({key: value for key, value in item.items() if key != "Condition"}, values, conditions)
            for name, item in translation[section].items()
            if "Condition" not in item or _truth({"Condition": item["Condition"]}, values, conditions)
        }
    return result


@cache
def translated(template: Path, **parameters: str) -> dict[str, Any]:
    """The template after SAM's transform, with its conditions and parameters still unresolved."""
    requests, answers = _translator()
    requests.write(json.dumps([str(template), parameters]) + "\n")
    requests.flush()
    if not (answer := answers.readline()):
        raise RuntimeError(f"SAM's translator cannot translate {template}; its message is above")
    translation: dict[str, Any] = json.loads(answer)
    return translation


@cache
def _translator() -> tuple[IO[str], IO[str]]:
    """The input and output of SAM's translator, a process that ends with this one."""
    process = subprocess.Popen(  # noqa: S603 - the project's own environment
        [SAM_PYTHON, "-c", _TRANSLATE],
        env={"AWS_DEFAULT_REGION": _REGION},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    atexit.register(process.communicate)
    return cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)


def _parameter_values(declared: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    if unknown := sorted(given.keys() - declared.keys()):
        raise RefusedParameterError(f"the template has no parameter {', '.join(unknown)}")
    values = {name: str(given.get(name, about["Default"])) for name, about in declared.items()}
    for name, about in declared.items():
        if not _is_allowed(values[name], about):
            right = about.get("ConstraintDescription") or f"must fit {about}"
            raise RefusedParameterError(f"{name} is {values[name]!r}; it {right}")
    return values


def _is_allowed(value: str, about: Mapping[str, Any]) -> bool:
    if about["Type"] == "Number":
        number = float(value)
        if not float(about.get("MinValue", number)) <= number <= float(about.get("MaxValue", number)):
            return False
    return (
        value in map(str, about.get("AllowedValues", [value]))
        and re.fullmatch(about.get("AllowedPattern", "(?s:.*)"), value) is not None
        and len(value) <= int(about.get("MaxLength", len(value)))
    )


def _check_rules(rules: Mapping[str, Any], values: Mapping[str, str]) -> None:
    for rule in rules.values():
        if _truth(rule.get("RuleCondition", {"Fn::And": []}), values, {}):
            for assertion in rule["Assertions"]:
                if not _truth(assertion["Assert"], values, {}):
                    raise RefusedParameterError(assertion["AssertDescription"])


def _truth(condition: Any, values: Mapping[str, str], conditions: Mapping[str, Any]) -> bool:  # noqa: ANN401 - JSON
    ((function, operands),) = condition.items()
    if function == "Condition":
        return _truth(conditions[operands], values, conditions)
    if function == "Fn::Equals":
        left, right = (str(_decided(operand, values, conditions)) for operand in operands)
        return left == right
    if function == "Fn::Not":
        return not _truth(operands[0], values, conditions)
    if function == "Fn::And":
        return all(_truth(operand, values, conditions) for operand in operands)
    raise NotImplementedError(f"{function} is a condition function that is not supported here yet")


def _decided(value: Any, values: Mapping[str, str], conditions: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """The value with Fn::If resolved, parameters filled in and AWS::NoValue removed."""
    if isinstance(value, list):
        items = [_decided(item, values, conditions) for item in value]
        return [item for item in items if item is not _NO_VALUE]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Fn::If"}:
        name, chosen, otherwise = value["Fn::If"]
        is_true = _truth({"Condition": name}, values, conditions)
        return _decided(chosen if is_true else otherwise, values, conditions)
    if value.keys() == {"Ref"}:
        name = value["Ref"]
        return _NO_VALUE if name == "AWS::NoValue" else values.get(name, value)
    decided = {key: _decided(item, values, conditions) for key, item in value.items()}
    return _filled_in({key: item for key, item in decided.items() if item is not _NO_VALUE}, values)


def _filled_in(value: dict[str, Any], values: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    """The text or list that an intrinsic function gives, as far as the parameters determine it."""
    if value.keys() == {"Fn::Split"}:
        separator, text = value["Fn::Split"]
        return text.split(separator)
    if value.keys() == {"Fn::Sub"}:
        text, *names = value["Fn::Sub"] if isinstance(value["Fn::Sub"], list) else [value["Fn::Sub"]]
        for name, given in values.items():
            text = text.replace(f"${{{name}}}", given)
        return {"Fn::Sub": [text, *names] if names else text}
    return value


def declared_environment(template: Path) -> dict[str, str]:
    """The environment variables that a built template sets, without references, which exist only once deployed."""
    declared = YAML(typ="safe").load(template)["Resources"]["FraudFunction"]["Properties"]["Environment"]["Variables"]
    return {name: value for name, value in declared.items() if isinstance(value, str)}


def main() -> None:
    """Write the template as it would be deployed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    parameters = dict(parameter.split("=", 1) for parameter in arguments.parameters)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(deployed(parameters), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
