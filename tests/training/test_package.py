"""Packaging: requests made of rows, golden cases that are no real rows, and versions by content."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from handler.scoring.bundle import MANIFEST, to_json
from handler.scoring.contract import Contract, request_model
from handler.scoring.fields import DeclaredField
from handler.scoring.scorer import load_scorer
from training import declaration, package
from training.data.requests import requests_of
from training.data.split import WINDOWS
from training.errors import StageError
from training.model.distributions import describe
from training.package import golden_requests

Frame = pd.DataFrame
NO_CATALOGUE = pd.DataFrame({"field": [], "name": [], "category": []}, dtype=str)


@pytest.fixture(scope="module")
def all_rows(trained_rows: Callable[[str], Frame]) -> Frame:
    """All prepared rows of the trained project."""
    return pd.concat(map(trained_rows, WINDOWS))


@pytest.fixture
def trained_copy(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained project, without its bundle, as the working folder."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    shutil.rmtree(copy / "build" / "bundles")
    monkeypatch.chdir(copy)
    return copy


def test_requests_have_the_values_of_rows(all_rows: Frame, mini_scorer: declaration.ScorerDeclaration) -> None:
    """Each row's request has its values by alias, counts as ints, flags as bools, and no missing ones.

    The function accepts the request of every checked row, through JSON.
    """
    model, records = request_model("mini", mini_scorer.contract), all_rows.to_dict(orient="records")
    for request, row in zip(requests_of(all_rows, mini_scorer.contract), records, strict=True):
        present = {name: row[name] for name in mini_scorer.fields if not pd.isna(row[name])}
        assert request == {("amountUsd" if name == "amount" else name): value for name, value in present.items()}
        assert type(request.get("visits", 0)) is int
        assert type(request.get("is_new", True)) is bool
        parsed = model.model_validate_json(json.dumps(request))
        assert parsed.model_dump(by_alias=True, exclude_none=True) == request


def test_golden_cases(trained: Path, all_rows: Frame, mini_scorer: declaration.ScorerDeclaration) -> None:
    """Golden requests are valid, have their probabilities and no id, and are no real rows.

    One has only required fields, and one has values that training never saw.
    """
    scorer = load_scorer(trained / "build" / "bundles" / "mini")
    golden = scorer.bundle.golden
    assert len(golden) == package.N_GOLDEN + 2
    assert len({case["probability"] for case in golden}) > 10
    seen = {json.dumps(request) for request in requests_of(all_rows, mini_scorer.contract)}
    for case in golden:
        scorer.request_model.model_validate(case["request"])
        assert 0 < case["probability"] < 1
        assert json.dumps(case["request"]) not in seen
        assert "row_id" not in case["request"]
    assert any(set(case["request"]) == {"amountUsd", "country"} for case in golden)
    assert any(case["request"]["country"] == "never seen" for case in golden)


@pytest.mark.parametrize(
    ("field", "values", "vocabulary"),
    [
        (DeclaredField(type="category", max_length=2), [1.0, 2.0], ["DE", "FR"]),
        (DeclaredField(type="category", max_length=2), [0.0, 0.0], []),
        (DeclaredField(type="count", max=99_999_999), [0.0] + [99_999_999.0] * 30, None),
        (DeclaredField(type="number", max=2 / 3), [0.1] + [2 / 3] * 30, None),
        (DeclaredField(type="number", min=1 / 3), [1 / 3, 0.5], None),
        (DeclaredField(type="money", max=-1), [np.nan, np.nan], None),
        (DeclaredField(type="flag"), [0.0, 1.0], None),
    ],
    ids=["short category", "no category", "count at its max", "number at its max", "at its min", "missing", "flag"],
)
def test_golden_requests_satisfy_any_contract(
    field: DeclaredField, values: list[float], vocabulary: list[str] | None
) -> None:
    """Golden requests of valid rows are valid, even at the limits of the contract."""
    contract = Contract(route="/x", answer="decision", id=None, fields={"value": field}, features={})
    learned = {} if vocabulary is None else {"value": vocabulary}
    reference = describe(np.array(values, dtype=np.float32).reshape(-1, 1), contract, learned)
    model = request_model("x", contract)
    for request in golden_requests(contract, reference, NO_CATALOGUE):
        model.model_validate(request)


def test_golden_texts_satisfy_a_short_limit() -> None:
    """A catalogue name that is too long for a request is not in a golden request."""
    field = DeclaredField(type="text", max_length=12, categories="kind", catalogue="data/catalogue.csv")
    contract = Contract(route="/x", answer="decision", id=None, fields={"item": field}, features={})
    catalogue = pd.DataFrame({"name": ["rice", "a very long kind of rice"], "category": ["x", "y"], "field": "item"})
    model = request_model("x", contract)
    for request in golden_requests(contract, {}, catalogue):
        model.model_validate(request)


def test_parity_is_printed(trained_output: tuple[Path, dict[str, str]]) -> None:
    """The output has the number of compared rows and the bundle's version."""
    folder, printed = trained_output
    manifest = json.loads((folder / "build" / "bundles" / "mini" / MANIFEST).read_text())
    assert "parity: 300 test rows, worst absolute difference" in printed["package"]
    assert f"version {manifest['version']}" in printed["package"]


def bundle_bytes(project: Path) -> dict[str, bytes]:
    """The contents of the bundle's files, by name."""
    return {path.name: path.read_bytes() for path in sorted((project / "build" / "bundles" / "mini").iterdir())}


def version_of(project: Path) -> Any:  # noqa: ANN401 - what the manifest says
    """The version of the project's bundle."""
    return json.loads(bundle_bytes(project)[MANIFEST])["version"]


def test_same_inputs_same_bytes(trained: Path, trained_copy: Path) -> None:
    """Packaging again gives the same bytes, and so the same version, and leaves nothing else behind."""
    package.main("mini")
    assert bundle_bytes(trained_copy) == bundle_bytes(trained)
    assert sorted(path.name for path in (trained_copy / "build").iterdir()) == ["bundles", "mini"]
    package.main("mini")
    assert bundle_bytes(trained_copy) == bundle_bytes(trained)


def test_other_threshold_other_version(trained: Path, trained_copy: Path) -> None:
    """A bundle with another threshold has another version, but the same model."""
    path = trained_copy / "build" / "mini" / "calibration.json"
    fitted = json.loads(path.read_text())
    fitted["decision"]["threshold"] *= 1.5
    path.write_text(json.dumps(fitted))
    package.main("mini")
    assert version_of(trained_copy) != version_of(trained)
    assert bundle_bytes(trained_copy)["model.ubj"] == bundle_bytes(trained)["model.ubj"]


def test_failed_parity_leaves_the_old_bundle(trained: Path, trained_copy: Path) -> None:
    """If the new bundle disagrees with the pipeline, the stage stops and the old bundle is kept."""
    package.main("mini")
    path = trained_copy / "build" / "mini" / "vocabulary.json"
    vocabulary = json.loads(path.read_text())
    vocabulary["country"].reverse()
    path.write_bytes(to_json(vocabulary))
    with pytest.raises(StageError, match="the function's probability differs from the pipeline's"):
        package.main("mini")
    assert bundle_bytes(trained_copy) == bundle_bytes(trained)
    assert sorted(path.name for path in (trained_copy / "build").iterdir()) == ["bundles", "mini"]


def test_bundles_of_undeclared_scorers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function serves every bundle that it finds, so the bundle of a renamed scorer must not stay."""
    monkeypatch.chdir(tmp_path)
    for name in ("kept", "renamed"):
        (tmp_path / "build" / "bundles" / name).mkdir(parents=True)
    assert [path.name for path in package.remove_undeclared({"kept"})] == ["renamed"]
    assert [path.name for path in (tmp_path / "build" / "bundles").iterdir()] == ["kept"]
