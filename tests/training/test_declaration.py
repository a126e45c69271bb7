"""The declaration: the shipped file, and the sentence for each mistake."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from handler.scoring.contract import Contract
from training.declaration import ScorerDeclaration, declared_scorer, read_declarations
from training.errors import StageError

SHIPPED = Path(__file__).parents[2] / "params.yaml"

Change = Callable[[dict[str, Any]], object]
Write = Callable[..., Path]


@pytest.fixture
def write(mini_params: Path, tmp_path: Path) -> Write:
    """Write the mini declaration with changes to the scorer's block; returns its path."""

    def write_changed(*changes: Change) -> Path:
        yaml = YAML(typ="safe", pure=True)
        content = yaml.load(mini_params)
        for change in changes:
            change(content["scorers"]["mini"])
        path = tmp_path / "params.yaml"
        yaml.dump(content, path)
        return path

    return write_changed


def update(*path: str, **keys: object) -> Change:
    """A change that sets keys of a block within the scorer's block."""

    def change(block: dict[str, Any]) -> None:
        for part in path:
            block = block[part]
        block.update(keys)

    return change


def without(*path: str) -> Change:
    """A change that removes a key."""

    def change(block: dict[str, Any]) -> None:
        for part in path[:-1]:
            block = block[part]
        del block[path[-1]]

    return change


def refusal(path: Path) -> str:
    """The message of a file's refusal."""
    with pytest.raises(StageError) as caught:
        read_declarations(path)
    return str(caught.value)


def test_shipped_file_parses() -> None:
    """The shipped params.yaml declares the transaction and the refund scorer."""
    scorers = read_declarations(SHIPPED).scorers
    assert {name: (scorer.route, scorer.answer) for name, scorer in scorers.items()} == {
        "transaction": ("/predict", "probability"),
        "refund": ("/api/v1/refund-predict", "decision"),
    }


def test_contract_is_the_part_that_travels() -> None:
    """A scorer's contract has the declared fields, and nothing about training."""
    scorer = declared_scorer("refund", SHIPPED)
    assert type(scorer.contract) is Contract
    assert scorer.contract.fields == scorer.fields
    assert set(scorer.contract.model_dump()) == {"route", "answer", "id", "time", "fields", "features", "history"}


def test_texts_are_the_fields_with_a_catalogue(mini_scorer: ScorerDeclaration) -> None:
    """Only fields of type text count as texts."""
    assert list(mini_scorer.texts) == ["item"]


# Changes that are mistakes, with the sentence that follows "<file>: scorers.mini".
REFUSED = [
    # Keys that are unknown or missing.
    (
        # A key that earlier versions had.
        update("split", train=0.6),
        (
            ".split.train (value 0.6) is not a known key; the known keys are "
            "calibrate, calibrate_days, label_delay_days, refit, sample, test, test_days, weight."
        ),
    ),
    (
        update("fields", "amount", minimum=0),
        (
            ".fields.amount.minimum (value 0) is not a known key; the known keys are alias, catalogue, categories, "
            "changeable, max, max_length, min, min_rows, monotone, private, reason, required, type, unit."
        ),
    ),
    (
        update("costs", currency="USD"),
        (
            ".costs.currency (value 'USD') is not a known key; the known keys are "
            "amount, capacity, insult, recovered, review."
        ),
    ),
    (
        update("folds", gap=5),
        ".folds.gap (value 5) is not a known key; the known keys are count, sample, validate_share.",
    ),
    (
        update("tuning", timeout=5),
        ".tuning.timeout (value 5) is not a known key; the known keys are grid, mode, time_limit_minutes, trials.",
    ),
    (without("label"), ".label is missing; it is required."),
    # Blocks that must be given, even if their value may be null.
    (without("entity"), ".entity is missing; it is required."),
    (without("folds"), ".folds is missing; it is required."),
    (without("tuning"), ".tuning is missing; it is required."),
    (without("costs"), ".costs is missing; it is required."),
    # Values of another type or out of range.
    (update("model", rounds="20"), ".model.rounds is '20'; it must be a valid integer."),
    (update("fields", amount="money"), ".fields.amount is 'money'; it must be an object."),
    (update(costs=5), ".costs is 5; it must be an object."),
    (update("decision", recall=1.2), ".decision.recall is 1.2; it must be less than or equal to 1."),
    (update("decision", cost="low"), ".decision.cost is 'low'; it must be 'lowest'."),
    (update("costs", review=0), ".costs.review is 0; it must be greater than 0."),
    (update("costs", capacity=0), ".costs.capacity is 0; it must be greater than 0."),
    (
        update("costs", insult=0),
        (
            ".costs.insult: it is 0, so blocking would cost nothing and all requests would be blocked; give what "
            "blocking a legitimate request costs, such as 15 or {share: 0.05}, or remove it."
        ),
    ),
    (
        update("costs", insult="5%"),
        ".costs.insult: it is '5%'; it must be a number, or {flat: ..., share: ...} with one key or both.",
    ),
    (
        update("costs", insult=15),
        (
            ": costs.insult is what blocking a legitimate request costs, but decision has no block; declare "
            "decision: {review: ..., block: ...}, or remove insult."
        ),
    ),
    (
        update("decision", recall=None, review={"recall": 0.9}, block={"cost": "lowest"}),
        (
            ": decision.block.cost needs costs.insult, because otherwise it would be cheapest to block everything; "
            "declare what blocking a legitimate request costs, such as insult: 15 or insult: {share: 0.05}."
        ),
    ),
    (update("folds", count=1), ".folds.count is 1; it must be greater than or equal to 2."),
    (update("model", max_depth=17), ".model.max_depth is 17; it must be less than or equal to 16."),
    (update("quarantine", max_share=float("nan")), ".quarantine.max_share is nan; it must be a finite number."),
    (update("split", test=0.6, calibrate=0.5), ".split: calibrate + test is 1.1; it must be below 1."),
    (
        update("split", test_days=7),
        ".split: the test window must be given by exactly one of test (a share of the rows) and test_days.",
    ),
    (
        update("resampling", method="auto"),
        (".resampling: method is auto, which chooses neighbours, ratio itself; remove it, or name a method."),
    ),
    (
        update(gate={"margin": 0}),
        (
            ".gate.margin: it is 0; a model that is only as good as the champion could never pass. Give the loss of "
            "average precision that you would accept, such as 0.02."
        ),
    ),
    (
        update(gate={"margin": 1}),
        (
            ".gate.margin: it is 1, with which every model would pass; give the loss of average precision that you "
            "would accept, such as 0.02."
        ),
    ),
    (update(gate={"min_frauds": 0}), ".gate.min_frauds is 0; it must be greater than or equal to 1."),
    (update("tuning", mode="random"), ".tuning.mode is 'random'; it must be 'tpe', 'grid' or 'none'."),
    (
        update("resampling", method="adasyn"),
        ".resampling.method is 'adasyn'; it must be 'auto', 'smote', 'undersample', 'class_weight' or 'none'.",
    ),
    (
        update(
            features={},
            costs=None,
            fields={"country": {"type": "category"}, "city": {"type": "category"}},
            resampling={"method": "smote"},
        ),
        (
            ": resampling.method is smote, which needs a numeric field, and all fields are categories or texts; it "
            "must be auto, none, undersample or class_weight."
        ),
    ),
    # Routes.
    (update(route="/health"), ".route is /health, which is reserved; choose another."),
    (update(route="predict"), ".route is 'predict'; it must match pattern '^(/[a-z0-9_-]+)+$'."),
    # Fields and features.
    (
        update("features", same={"ratio": ["visits", "visits"]}),
        ": features.same.ratio divides visits by itself, which is 1 or missing; name two different fields.",
    ),
    (update("fields", "speed", min=5, max=5), ".fields.speed: min 5 must be below max 5."),
    (
        update("fields", "country", min=1),
        ".fields.country: min and max are for number, money, count; the type here is category.",
    ),
    (
        without("fields", "item", "catalogue"),
        ".fields.item: type text needs both categories and catalogue, and no other type may have them.",
    ),
    (
        update("fields", "item", catalogue="catalogue.csv"),
        ": fields.item.catalogue is catalogue.csv; it must be a file below data/.",
    ),
    (update("fields", "speed", alias="amountUsd"), ": amountUsd is used twice; every name must be used once."),
    (
        update("fields", _amount={"type": "number"}),
        ": fields may not be called _amount: a request model has that name already.",
    ),
    (
        update("fields", model_dump={"type": "number"}),
        ": fields may not be called model_dump: a request model has that name already.",
    ),
    (
        update("fields", model_config={"type": "number"}),
        ": fields may not be called model_config: a request model has that name already.",
    ),
    (
        update("features", odd={"ratio": ["item", "amount"]}),
        ": features.odd reads item; it may read the numeric fields amount, speed, visits.",
    ),
    (
        update("features", odd={"unit": "USD"}),
        ".features.odd: exactly one of ratio, product, hour_of_day, day_of_week must be given.",
    ),
    (
        update("features", "momentum", product=["amount", "speed", "visits"]),
        ".features.momentum.product is ['amount', 'speed', 'visits']; it must have at most 2 items.",
    ),
    (
        update("features", hour={"hour_of_day": "when"}),
        ": features.hour reads when; it must read the time column, at.",
    ),
    (
        update("fields", "speed", alias="at", type="date", unit=None),
        ": at is used twice; every name must be used once.",
    ),
    # Directions.
    (
        update("fields", "amount", monotone="up"),
        ".fields.amount.monotone is 'up'; it must be 'increasing' or 'decreasing'.",
    ),
    (
        update("fields", "amount", monotone="increasing"),
        (
            ": fields.amount.monotone cannot hold for features.momentum: speed may be below 0 and "
            "invert the direction; declare speed with min: 0, or remove the feature."
        ),
    ),
    (
        update("fields", "country", monotone="increasing"),
        ".fields.country: monotone is increasing, but a category has no order; remove it, or declare a numeric type.",
    ),
    (
        update("fields", "item", monotone="increasing"),
        ".fields.item: monotone is increasing, but a text has no order; remove it, or declare a numeric type.",
    ),
    # Columns with two meanings.
    (update(label="visits"), ": label is visits, which is also a field; a model must not see it."),
    (update(entity="amount"), ": entity is amount, which is also a field; a model must not see it."),
    (update(entity="is_fraud"), ": label and entity are both is_fraud; they must be two columns."),
    (update(entity="at"), ": time and entity are both at; they must be two columns."),
    (update(entity="row_id"), ": id and entity are both row_id; they must be two columns."),
    # Policies and costs, which need a required money field that cannot be below 0.
    (
        update(decision={}),
        ".decision: no policy is given; it must be exactly one of cost, precision, recall, review_rate.",
    ),
    (
        update("decision", precision=0.5),
        ".decision: precision and recall are given; it must be exactly one of cost, precision, recall, review_rate.",
    ),
    (
        update(decision={"review_rate": 0.1, "confidence": 0.9}),
        ".decision: confidence is for recall and precision, but the policy is review_rate; remove confidence.",
    ),
    (
        update(decision={"review": {"recall": 0.9}}),
        ".decision: review is given without block; give a policy for both, or one policy without either.",
    ),
    (
        update(decision={"block": {"precision": 0.9}}),
        ".decision: block is given without review; give a policy for both, or one policy without either.",
    ),
    (
        update(decision={"recall": 0.9, "review": {"recall": 0.9}, "block": {"precision": 0.9}}),
        (
            ".decision: recall cannot be combined with review or block; declare one policy, or a policy for each of "
            "review and block."
        ),
    ),
    (
        update(decision={"review": {"recall": 0.9}, "block": {"recall": 0.5, "precision": 0.9}}),
        (
            ".decision.block: precision and recall are given; it must be exactly one of cost, precision, recall, "
            "review_rate."
        ),
    ),
    (
        update(decision={"review": {"cost": "lowest"}, "block": {"precision": 0.9}}, costs=None),
        ": decision.cost needs costs: {amount: <a money field>, review: <what one alert costs>}.",
    ),
    (
        update(decision={"cost": "lowest"}, costs=None),
        ": decision.cost needs costs: {amount: <a money field>, review: <what one alert costs>}.",
    ),
    (update("costs", amount="visits"), ": costs.amount is visits; it must be a required money field with min: 0."),
    (
        update("costs", amount="amountUsd"),
        ": costs.amount is amountUsd; it must be a required money field with min: 0.",
    ),
    (
        update("fields", "amount", required=False),
        ": costs.amount is amount; it must be a required money field with min: 0.",
    ),
    (update("fields", "amount", min=-1), ": costs.amount is amount; it must be a required money field with min: 0."),
    # The model and its tuning.
    (
        update("model", tree_method="exact"),
        ": model.tree_method is exact, which does not support string fields (country, item); it must be hist.",
    ),
    (
        update("tuning", grid={"subsample": [0.5]}),
        ".tuning: mode is tpe, which reads no grid; remove grid, or declare mode: grid.",
    ),
    (
        update(tuning={"mode": "grid", "grid": {"rounds": [5]}}),
        ": rounds is pinned by model and searched by tuning.grid; keep one of the two.",
    ),
    (
        update(tuning={"mode": "grid", "grid": {"subsample": [0.5, 1.5]}}),
        ".tuning: grid.subsample holds 1.5; it must be less than or equal to 1.",
    ),
    (
        update(tuning={"mode": "grid", "grid": {"subsample": ["half"]}}),
        ".tuning: grid.subsample holds 'half'; it must be a valid number.",
    ),
    (
        update(tuning={"mode": "grid", "grid": {"subsample": []}}),
        ".tuning.grid.subsample is []; it must have at least 1 item.",
    ),
    (
        update(tuning={"mode": "grid", "grid": {"depth": [3]}}),
        (
            ".tuning.grid.depth is 'depth'; it must be 'rounds', 'learning_rate', 'max_depth', 'min_child_weight', "
            "'subsample', 'colsample_bytree', 'reg_lambda' or 'max_bin'."
        ),
    ),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_refusal_is_one_sentence(write: Write, change: Change, sentence: str) -> None:
    """The refusal is one line with the file, the key, the value and what is allowed."""
    path = write(change)
    assert refusal(path) == f"{path}: scorers.mini{sentence}"


def test_every_problem_is_listed(write: Write) -> None:
    """Two mistakes in one file are reported at once, one per line."""
    path = write(update("decision", recall=0), update("model", max_depth=99))
    lines = refusal(path).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_costs_and_entity_may_be_null(write: Write) -> None:
    """Null declares that a scorer has no entity or no costs."""
    scorer = declared_scorer("mini", write(update(costs=None, entity=None)))
    assert (scorer.costs, scorer.entity) == (None, None)


def test_what_the_model_leaves_open_is_not_pinned(mini_scorer: ScorerDeclaration) -> None:
    """Only the parameters that the file gives are pinned."""
    assert mini_scorer.model.pinned == {"rounds", "max_depth", "learning_rate"}


def test_direction_travels_with_the_contract(write: Write) -> None:
    """A declared direction is part of the contract, and so of the bundle."""
    path = write(update("fields", "amount", monotone="increasing"), without("features", "momentum"))
    assert declared_scorer("mini", path).contract.fields["amount"].monotone == "increasing"


@pytest.mark.parametrize("second_route", ["/mini", "/mini/batch"])
def test_two_scorers_on_one_route(mini_params: Path, tmp_path: Path, second_route: str) -> None:
    """A second scorer may take neither the route nor the batch route of the first."""
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(mini_params)
    content["scorers"]["other"] = content["scorers"]["mini"] | {"route": second_route}
    path = tmp_path / "params.yaml"
    yaml.dump(content, path)
    sentence = f"scorers.other.route takes {second_route}, which scorers.mini already has; choose another."
    assert refusal(path) == f"{path}: {sentence}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": the file is None; it must be an object."),
        ("- 1\n", ": the file is [1]; it must be an object."),
        ("scorers: {}\n", ": scorers is {}; it must have at least 1 item."),
        ("scorers: {Mini Scorer: {}}\n", ": scorers.Mini Scorer is 'Mini Scorer'; it must match pattern"),
        ("scorers: [\n", " is not valid YAML: while parsing a flow node"),
        ("scorers: 2025-01-01\n", ": Object of type date is not JSON serializable; write dates in quotes"),
    ],
)
def test_file_of_another_shape(tmp_path: Path, text: str, message: str) -> None:
    """A file without scorers is refused by its name."""
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert refusal(path).startswith(f"{path}{message}")


def test_duplicate_key(mini_params: Path, tmp_path: Path) -> None:
    """A duplicate key is refused, because one of the values would be lost."""
    path = tmp_path / "params.yaml"
    path.write_text(mini_params.read_text() + "    seed: 8\n")
    message = refusal(path)
    assert message.startswith(f"{path} is not valid YAML")
    assert 'duplicate key "seed" with value "8" (original value: "7")' in message


def test_missing_file(tmp_path: Path) -> None:
    """A file that does not exist is named."""
    path = tmp_path / "params.yaml"
    assert refusal(path) == f"{path} cannot be read: No such file or directory"


def test_unknown_scorer_name(mini_params: Path) -> None:
    """The message for an undeclared scorer lists those that are declared."""
    with pytest.raises(StageError) as caught:
        declared_scorer("maxi", mini_params)
    assert str(caught.value) == f"{mini_params}: there is no scorers.maxi; the declared scorers are mini"


def test_records_are_frozen(mini_scorer: ScorerDeclaration) -> None:
    """A parsed declaration cannot be changed."""
    for record, name in ((mini_scorer, "seed"), (mini_scorer.model, "rounds"), (mini_scorer.fields["amount"], "min")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(record, name, 1)
