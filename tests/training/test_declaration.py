"""The declaration: what the shipped file says, and what is refused with which sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from handler.contract import Contract
from training.declaration import DeclarationError, Scorer, declared_scorer, read_params

SHIPPED = Path(__file__).parents[2] / "params.yaml"

Change = Callable[[dict[str, Any]], object]


def changed(source: Path, folder: Path, change: Change) -> Path:
    """A copy of the mini declaration in which the scorer's block was changed."""
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(source)
    change(content["scorers"]["mini"])
    path = folder / "params.yaml"
    yaml.dump(content, path)
    return path


def refusal(path: Path) -> str:
    """The message with which a file is refused."""
    with pytest.raises(DeclarationError) as caught:
        read_params(path)
    return str(caught.value)


def test_shipped_file_parses() -> None:
    """The shipped params.yaml declares the transaction and the refund scorer."""
    scorers = read_params(SHIPPED).scorers
    assert {name: (scorer.route, scorer.answer) for name, scorer in scorers.items()} == {
        "transaction": ("/predict", "probability"),
        "refund": ("/api/v1/refund-predict", "decision"),
    }


def test_shipped_contract_is_the_part_that_travels() -> None:
    """A scorer's contract has the declared fields and nothing of the training."""
    scorer = declared_scorer("refund", SHIPPED)
    assert type(scorer.contract) is Contract
    assert scorer.contract.fields == scorer.fields
    assert set(scorer.contract.model_dump()) == {"route", "answer", "id", "fields", "features"}


def test_texts_are_the_fields_with_a_catalogue(mini_scorer: Scorer) -> None:
    """Only fields of type text count as texts."""
    assert list(mini_scorer.texts) == ["item"]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        pytest.param(
            lambda block: block["split"].update(folds=5),
            [
                "scorers.mini.split.folds (value 5) is not a known key",
                "calibrate, label_delay_days, sample, test, train",
            ],
            id="unknown key",
        ),
        pytest.param(
            lambda block: block["fields"]["amount"].update(minimum=0),
            ["scorers.mini.fields.amount.minimum (value 0) is not a known key", "max, max_length, min, min_rows"],
            id="unknown key of a field",
        ),
        pytest.param(
            lambda block: block.pop("label"),
            ["scorers.mini.label is missing", "it is required"],
            id="missing key",
        ),
        pytest.param(
            lambda block: block["model"].update(rounds="20"),
            ["scorers.mini.model.rounds is '20'", "it must be a valid integer"],
            id="wrong type",
        ),
        pytest.param(
            lambda block: block["fields"].update(amount="money"),
            ["scorers.mini.fields.amount is 'money'", "it must be an object"],
            id="a field that is no object",
        ),
        pytest.param(
            lambda block: block["decision"].update(recall=1.2),
            ["scorers.mini.decision.recall is 1.2", "it must be", "1."],
            id="recall above 1",
        ),
        pytest.param(
            lambda block: block["quarantine"].update(max_share=float("nan")),
            ["scorers.mini.quarantine.max_share is nan", "it must be"],
            id="a share that is not a number",
        ),
        pytest.param(
            lambda block: block["split"].update(test=0.3),
            ["scorers.mini.split", "train + calibrate + test is 1.1", "it must be 1"],
            id="shares beyond 1",
        ),
        pytest.param(
            lambda block: block["features"].update(odd={"ratio": ["item", "amount"]}),
            ["scorers.mini", "features.odd reads item", "it may read the numeric fields amount, speed, visits"],
            id="derived from a text",
        ),
        pytest.param(
            lambda block: block["features"].update(odd={"unit": "USD"}),
            ["scorers.mini.features.odd", "exactly one of ratio, product must be given"],
            id="derived by no operation",
        ),
        pytest.param(
            lambda block: block.update(label="visits"),
            ["scorers.mini", "label is visits, which is also a field", "a model must not see it"],
            id="label among the fields",
        ),
        pytest.param(
            lambda block: block.update(route="/health"),
            ["scorers.mini.route", "/health", "which is reserved"],
            id="taken route",
        ),
        pytest.param(
            lambda block: block.update(route="predict"),
            ["scorers.mini.route is 'predict'", "it must match"],
            id="route without a slash",
        ),
        pytest.param(
            lambda block: block["fields"]["speed"].update(min=5, max=5),
            ["scorers.mini.fields.speed", "min 5 must be below max 5"],
            id="empty range",
        ),
        pytest.param(
            lambda block: block["fields"]["country"].update(min=1),
            ["scorers.mini.fields.country", "min and max are for number, money, count", "the type here is category"],
            id="range of a category",
        ),
        pytest.param(
            lambda block: block["fields"]["item"].pop("catalogue"),
            ["scorers.mini.fields.item", "type text needs both categories and catalogue"],
            id="text without a catalogue",
        ),
        pytest.param(
            lambda block: block["fields"]["speed"].update(alias="amountUsd"),
            ["scorers.mini", "amountUsd is used twice", "every name must be used once"],
            id="alias used twice",
        ),
    ],
)
def test_refusal_names_file_key_value_and_what_is_right(
    mini_params: Path, tmp_path: Path, change: Change, parts: list[str]
) -> None:
    """A declaration that cannot be is refused with the file, the key, the value found and what would be right."""
    path = changed(mini_params, tmp_path, change)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("name", ["_amount", "model_dump", "model_config"])
def test_field_name_that_no_request_can_carry(mini_params: Path, tmp_path: Path, name: str) -> None:
    """A field name from which no request model can be made is refused by the declaration, not by a later stage."""
    path = changed(mini_params, tmp_path, lambda block: block["fields"].update({name: {"type": "number"}}))
    assert name in refusal(path)


def test_every_problem_is_listed(mini_params: Path, tmp_path: Path) -> None:
    """Two mistakes in one file are told at once, a line each."""

    def change(block: dict[str, Any]) -> None:
        block["decision"]["recall"] = 0
        block["model"]["max_depth"] = 99

    lines = refusal(changed(mini_params, tmp_path, change)).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(str(tmp_path / "params.yaml")) for line in lines)


@pytest.mark.parametrize("second_route", ["/mini", "/mini/batch"])
def test_two_scorers_on_one_route(mini_params: Path, tmp_path: Path, second_route: str) -> None:
    """A second scorer may take neither the route nor the batch route of the first."""
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(mini_params)
    content["scorers"]["other"] = content["scorers"]["mini"] | {"route": second_route}
    path = tmp_path / "params.yaml"
    yaml.dump(content, path)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert ".route takes /mini" in message
    assert "scorers.mini" in message
    assert "scorers.other" in message


def test_scorer_name_that_is_no_identifier(mini_params: Path, tmp_path: Path) -> None:
    """A scorer's name is a folder and a part of a route, so it is plain."""
    path = tmp_path / "params.yaml"
    path.write_text(mini_params.read_text().replace("  mini:", "  Mini Scorer:"))
    assert "'Mini Scorer'" in refusal(path)


def test_duplicate_key(mini_params: Path, tmp_path: Path) -> None:
    """A key written twice is refused, because one of the two would be lost."""
    path = tmp_path / "params.yaml"
    path.write_text(mini_params.read_text() + "    seed: 8\n")
    message = refusal(path)
    assert message.startswith(f"{path} is not valid YAML")
    assert 'duplicate key "seed" with value "8" (original value: "7")' in message


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    path = tmp_path / "params.yaml"
    assert refusal(path) == f"{path} cannot be read: No such file or directory"


@pytest.mark.parametrize("text", ["", "- 1\n", "scorers: {}\n", "scorers: [\n", "scorers: 2025-01-01\n"])
def test_file_of_another_shape(tmp_path: Path, text: str) -> None:
    """A file that holds no scorers is refused by name."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert refusal(path).startswith(str(path))


def test_unknown_scorer_name(mini_params: Path) -> None:
    """Asking for a scorer that is not declared lists those that are."""
    with pytest.raises(DeclarationError) as caught:
        declared_scorer("maxi", mini_params)
    assert str(caught.value) == f"{mini_params}: there is no scorers.maxi; declared are mini"


def test_records_are_frozen(mini_scorer: Scorer) -> None:
    """What was declared cannot be changed by whoever reads it."""
    for record, name in ((mini_scorer, "seed"), (mini_scorer.model, "rounds"), (mini_scorer.fields["amount"], "min")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(record, name, 1)
