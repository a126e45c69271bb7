"""The declaration: what the shipped file says, and what is refused with which sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from handler.scoring.contract import Contract
from training.declaration import ScorerDeclaration, declared_scorer, read_params
from training.errors import StageError

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
    with pytest.raises(StageError) as caught:
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


def test_texts_are_the_fields_with_a_catalogue(mini_scorer: ScorerDeclaration) -> None:
    """Only fields of type text count as texts."""
    assert list(mini_scorer.texts) == ["item"]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        pytest.param(
            lambda block: block["split"].update(folds=5),
            [
                "scorers.mini.split.folds (value 5) is not a known key",
                "calibrate, calibrate_days, label_delay_days, sample, test, test_days, train",
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


def update(*path: str, **keys: object) -> Change:
    """The change that sets keys of a block inside the scorer's."""

    def change(block: dict[str, Any]) -> None:
        for part in path:
            block = block[part]
        block.update(keys)

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(
            update("decision", recall=1.2),
            "scorers.mini.decision.recall is 1.2; it must be less than or equal to 1.",
            id="recall above 1",
        ),
        pytest.param(
            update(decision={}),
            "scorers.mini.decision: no policy is given; "
            "it must be exactly one of cost, precision, recall, review_rate.",
            id="no policy",
        ),
        pytest.param(
            update("decision", cost="low"),
            "scorers.mini.decision.cost is 'low'; it must be 'lowest'.",
            id="cost of another kind",
        ),
        pytest.param(
            update(decision={"cost": "lowest"}, costs=None),
            "scorers.mini: decision.cost needs costs: {amount: <a money field>, review: <what one alert costs>}.",
            id="decision by cost without costs",
        ),
        pytest.param(
            update("costs", review=0),
            "scorers.mini.costs.review is 0; it must be greater than 0.",
            id="a review that costs nothing",
        ),
        pytest.param(
            update("costs", currency="USD"),
            "scorers.mini.costs.currency (value 'USD') is not a known key; the known keys are amount, review.",
            id="unknown key in a block that may be null",
        ),
        pytest.param(update(costs=5), "scorers.mini.costs is 5; it must be an object.", id="costs of another shape"),
        pytest.param(
            update("fields", "amount", monotone="up"),
            "scorers.mini.fields.amount.monotone is 'up'; it must be 'increasing' or 'decreasing'.",
            id="unknown direction",
        ),
        pytest.param(
            update("fields", "amount", monotone="increasing"),
            "scorers.mini: fields.amount.monotone cannot hold through features.momentum: speed may be below 0 and "
            "invert the direction; declare speed with min: 0, or remove the feature.",
            id="direction that a feature would break",
        ),
        pytest.param(
            update("folds", count=1),
            "scorers.mini.folds.count is 1; it must be greater than or equal to 2.",
            id="one fold",
        ),
        pytest.param(
            update("folds", gap=5),
            "scorers.mini.folds.gap (value 5) is not a known key; the known keys are count, sample, validate_share.",
            id="unknown key of the folds",
        ),
        pytest.param(
            update("resampling", method="adasyn"),
            "scorers.mini.resampling.method is 'adasyn'; it must be 'smote', 'undersample', 'class_weight' or 'none'.",
            id="unknown method of resampling",
        ),
        pytest.param(
            update("model", max_depth=17),
            "scorers.mini.model.max_depth is 17; it must be less than or equal to 16.",
            id="trees too deep",
        ),
        pytest.param(
            update("model", tree_method="exact"),
            "scorers.mini: model.tree_method is exact, which does not support country, item; it must be hist.",
            id="exact with categories",
        ),
        pytest.param(
            update("tuning", mode="random"),
            "scorers.mini.tuning.mode is 'random'; it must be 'tpe', 'grid' or 'none'.",
            id="unknown mode of tuning",
        ),
        pytest.param(
            update("tuning", timeout=5),
            "scorers.mini.tuning.timeout (value 5) is not a known key; "
            "the known keys are grid, mode, time_limit_minutes, trials.",
            id="unknown key of the tuning",
        ),
        pytest.param(
            update("tuning", grid={"subsample": [0.5]}),
            "scorers.mini.tuning: mode is tpe, which reads no grid; remove grid, or declare mode: grid.",
            id="grid with another mode",
        ),
        pytest.param(
            update(tuning={"mode": "grid", "grid": {"rounds": [5]}}),
            "scorers.mini: rounds is pinned by model and searched by tuning.grid; keep one of the two.",
            id="pinned and in the grid",
        ),
        pytest.param(
            update("fields", "item", catalogue="catalogue.csv"),
            "scorers.mini: fields.item.catalogue is catalogue.csv; it must be a file below data/.",
            id="catalogue outside data",
        ),
        pytest.param(
            update(entity="amount"),
            "scorers.mini: entity is amount, which is also a field; a model must not see it.",
            id="entity among the fields",
        ),
        pytest.param(
            update(entity="is_fraud"),
            "scorers.mini: label and entity are both is_fraud; they must be two columns.",
            id="entity that is the label",
        ),
        pytest.param(
            update(entity="at"),
            "scorers.mini: time and entity are both at; they must be two columns.",
            id="entity that is the time",
        ),
        pytest.param(
            update(entity="row_id"),
            "scorers.mini: id and entity are both row_id; they must be two columns.",
            id="entity that is the id",
        ),
    ],
)
def test_refusal_is_one_sentence(mini_params: Path, tmp_path: Path, change: Change, sentence: str) -> None:
    """What is wrong with a block is told in one line: file, key, value found, what would be right."""
    path = changed(mini_params, tmp_path, change)
    assert refusal(path) == f"{path}: {sentence}"


@pytest.mark.parametrize(
    ("amount", "keys"),
    [("visits", {}), ("amountUsd", {}), ("amount", {"required": False}), ("amount", {"min": -1})],
    ids=["no money", "an alias", "not required", "may be negative"],
)
def test_costs_need_an_amount_in_every_row(
    mini_params: Path, tmp_path: Path, amount: str, keys: dict[str, object]
) -> None:
    """Costs can be counted only in a money field that each row has and that is not below 0."""

    def change(block: dict[str, Any]) -> None:
        block["costs"]["amount"] = amount
        block["fields"]["amount"].update(keys)

    message = refusal(changed(mini_params, tmp_path, change))
    assert f"costs.amount is {amount}" in message
    assert "required money field" in message


def test_two_policies_are_named(mini_params: Path, tmp_path: Path) -> None:
    """Of two policies neither wins; both are named with the choice there is."""
    message = refusal(changed(mini_params, tmp_path, update("decision", precision=0.5)))
    assert "scorers.mini.decision: precision and recall" in message
    assert message.endswith("it must be exactly one of cost, precision, recall, review_rate.")


def test_confidence_of_a_rate_is_refused(mini_params: Path, tmp_path: Path) -> None:
    """A review rate holds or does not; confidence is for what later rows may miss."""
    change = update(decision={"review_rate": 0.1, "confidence": 0.9})
    message = refusal(changed(mini_params, tmp_path, change))
    assert (
        "scorers.mini.decision: confidence is for recall and precision, the policy is review_rate; remove confidence"
        in message
    )


@pytest.mark.parametrize("name", ["country", "item"])
def test_direction_of_a_category_is_refused(mini_params: Path, tmp_path: Path, name: str) -> None:
    """A category has no order that the risk could follow."""
    message = refusal(changed(mini_params, tmp_path, update("fields", name, monotone="increasing")))
    assert f"scorers.mini.fields.{name}: monotone is increasing" in message
    assert "has no order; remove it" in message


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        pytest.param(
            update(tuning={"mode": "grid", "grid": {"subsample": [0.5, 1.5]}}),
            ["scorers.mini.tuning", "grid.subsample", "1.5", "it must be less than or equal to 1."],
            id="grid value out of range",
        ),
        pytest.param(
            update(tuning={"mode": "grid", "grid": {"subsample": ["half"]}}),
            ["scorers.mini.tuning", "grid.subsample", "'half'", "it must be"],
            id="grid value of another type",
        ),
        pytest.param(
            update(tuning={"mode": "grid", "grid": {"subsample": []}}),
            ["scorers.mini.tuning.grid.subsample is []", "it must have at least 1 item."],
            id="grid without values",
        ),
        pytest.param(
            update(tuning={"mode": "grid", "grid": {"depth": [3]}}),
            ["scorers.mini.tuning.grid.depth", "'max_depth'"],
            id="grid of an unknown parameter",
        ),
        pytest.param(
            update("features", "momentum", product=["amount", "speed", "visits"]),
            ["scorers.mini.features.momentum.product", "it must have at most 2 items"],
            id="product of three",
        ),
    ],
)
def test_refusal_speaks_the_files_language(mini_params: Path, tmp_path: Path, change: Change, parts: list[str]) -> None:
    """A refusal deep inside a block is still one line, in our words and with the file's keys alone."""
    message = refusal(changed(mini_params, tmp_path, change))
    for part in parts:
        assert part in message
    for foreign in ("\n", "Input should", "List should", "Tuple should", "after validation", ".int ", ".float "):
        assert foreign not in message


@pytest.mark.parametrize("name", ["entity", "folds", "tuning", "costs"])
def test_every_block_is_asked_for(mini_params: Path, tmp_path: Path, name: str) -> None:
    """A block that is left out is missed by name, also where its value may be null."""
    path = changed(mini_params, tmp_path, lambda block: block.pop(name))
    assert refusal(path) == f"{path}: scorers.mini.{name} is missing; it is required."


def test_costs_and_entity_may_be_null(mini_params: Path, tmp_path: Path) -> None:
    """A scorer whose rows are nobody's and whose decisions cost nothing says so with null."""
    scorer = declared_scorer("mini", changed(mini_params, tmp_path, update(costs=None, entity=None)))
    assert (scorer.costs, scorer.entity) == (None, None)


def test_what_the_model_leaves_open_is_not_pinned(mini_scorer: ScorerDeclaration) -> None:
    """The parameters that the file gives are pinned, also after the way through YAML and JSON; no other is."""
    assert mini_scorer.model.pinned == {"rounds", "max_depth", "learning_rate"}


def test_direction_travels_with_the_contract(mini_params: Path, tmp_path: Path) -> None:
    """A declared direction is part of the contract, which the bundle carries."""

    def change(block: dict[str, Any]) -> None:
        block["fields"]["amount"]["monotone"] = "increasing"
        block["features"].pop("momentum")

    contract = declared_scorer("mini", changed(mini_params, tmp_path, change)).contract
    assert contract.fields["amount"].monotone == "increasing"


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
    with pytest.raises(StageError) as caught:
        declared_scorer("maxi", mini_params)
    assert str(caught.value) == f"{mini_params}: there is no scorers.maxi; declared are mini"


def test_records_are_frozen(mini_scorer: ScorerDeclaration) -> None:
    """What was declared cannot be changed by whoever reads it."""
    for record, name in ((mini_scorer, "seed"), (mini_scorer.model, "rounds"), (mini_scorer.fields["amount"], "min")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(record, name, 1)
