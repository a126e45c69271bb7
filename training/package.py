"""Package the data-only bundle with its golden cases, and check that the function computes what training computed."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from handler.scoring.bundle import FILES, FORMAT, MANIFEST, bundle_version, load_bundle, manifest_bytes, to_json
from handler.scoring.contract import OTHER, Contract
from handler.scoring.fields import SECONDS_A_DAY, SECONDS_AN_HOUR, STRING_TYPES, UNLEARNED_TYPES, DeclaredField
from handler.scoring.scorer import CONTRIBUTION_DIGITS, Scorer
from handler.scoring.times import EARLIEST_SECONDS, END_OF_TIMES, iso_text
from training.data.requests import as_request
from training.data.window import Window
from training.declaration import declared_scorer, read_declarations
from training.delivery.parity import check_parity, completed_requests, history_before
from training.run.command import run
from training.run.files import (
    BUILD,
    BUNDLES,
    JUDGED,
    REFIT,
    REPORTS,
    read_table,
    read_text_table,
    replace_folder,
    rounded_floats,
)
from training.run.progress import say
from training.run.provenance import libraries

N_GOLDEN = 20
GOLDEN_DIGITS = 12
# From 2025-01-01 in steps of 29 hours: twenty steps visit most hours of the day and all days of the week.
GOLDEN_TIME, GOLDEN_STEP = 1_735_689_600, 29 * SECONDS_AN_HOUR


def golden_requests(contract: Contract, reference: dict[str, Any], catalogue: pd.DataFrame) -> list[dict[str, Any]]:
    """Synthetic requests across the range of the training rows, so that a bundle holds no real row.

    Numbers step through the percentiles, categories and texts through the known values; one request omits every
    optional field, and one carries values that training never saw. Every second one has no keys, so its answer does not
    depend on the history.
    """
    values_of = {
        name: _known_values(name, field, reference, catalogue)
        if field.type not in UNLEARNED_TYPES
        else [f"{name} of nobody" if field.type == "key" else None]
        for name, field in contract.fields.items()
    }
    requests = []
    for step in range(N_GOLDEN):
        values = {name: _nth_of(values, step) for name, values in values_of.items()}
        nobody = {} if _has_past(step) else dict.fromkeys(contract.keys)
        requests.append(_golden_request(values | nobody, contract, step))
    keys = {contract.fields[name].alias or name for name in contract.keys}
    complete = {key: value for key, value in requests[len(requests) // 2].items() if key not in keys}
    required = {field.alias or name for name, field in contract.fields.items() if field.required} | {contract.time_key}
    unseen = {
        field.alias or name: "never seen"[: field.max_length]
        for name, field in contract.fields.items()
        if field.type in STRING_TYPES
    }
    requests.append({key: value for key, value in complete.items() if key in required})
    requests.append({key: unseen.get(key, value) for key, value in complete.items()})
    return requests


def _golden_request(values: dict[str, Any], contract: Contract, step: int) -> dict[str, Any]:
    """The request of a step, with a fixed time instead of the clock's; its dates are computed from their ages."""
    if not contract.time_key:
        return as_request(values, contract)
    time = GOLDEN_TIME + step * GOLDEN_STEP
    dates = {
        name: max(round(time - values[name] * SECONDS_A_DAY), EARLIEST_SECONDS)
        for name, field in contract.fields.items()
        if field.type == "date"
    }
    return as_request(values | dates | {contract.time_key: time}, contract) | {contract.time_key: iso_text(time)}


def golden_pasts(contract: Contract, reference: dict[str, Any], n_cases: int) -> list[dict[str, float]]:
    """For each golden case the values that only a history knows, across the range of the training rows.

    Every second case, and every case after the first N_GOLDEN, has none.
    """
    computed = {name: field for name, field in contract.columns.items() if name not in contract.fields}
    values_of = {name: _known_values(name, field, reference, pd.DataFrame()) for name, field in computed.items()}
    return [
        {name: _nth_of(values, step) for name, values in values_of.items()} if _has_past(step) else {}
        for step in range(n_cases)
    ]


def _has_past(step: int) -> bool:
    """Whether the golden case of a step has a past."""
    return step < N_GOLDEN and step % 2 == 0


def _nth_of(values: list[Any], step: int) -> Any:  # noqa: ANN401 - whatever a field holds
    """The value at a step: N_GOLDEN steps cover a long list, and repeat a short one."""
    return values[step * max(len(values) // N_GOLDEN, 1) % len(values)]


def _known_values(name: str, field: DeclaredField, reference: dict[str, Any], catalogue: pd.DataFrame) -> list[Any]:
    """The values of a field that golden requests step through."""
    if field.type == "text":
        names = catalogue.loc[catalogue["field"] == name, "name"].str.slice(stop=field.max_length)
        return list(names)
    if field.type == "category":
        labels = [label for label in reference[name]["shares"] if label != OTHER]
        return labels or [OTHER[: field.max_length]]
    if field.type == "flag":
        return [False, True]
    # The reference is rounded, so its ends are clipped to the contract's limits. A field without a value in training
    # still gets one in a request.
    percentiles = reference[name]["percentiles"] or [0.0]
    return [min(max(value, field.lowest), field.highest) for value in percentiles]


def build_bundle(folder: Path, contents: dict[str, bytes], described: dict[str, Any]) -> None:
    """Write a bundle's files into a folder, with a manifest of their hashes and the version computed from them."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    manifest = {"format": FORMAT, **described, "files": hashes}
    manifest["version"] = bundle_version(manifest)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))


def windows_of(name: str, *, refit: bool) -> dict[str, Any]:
    """The windows in a bundle's manifest, in time order; "calibrate" describes the calibration rows, wherever they are.

    With `refit` also the rows of the refitted model, which has learned the test window too.
    """
    windows = json.loads((REPORTS / name / "rows.json").read_text())["windows"]
    calibrate = json.loads((REPORTS / name / "calibration.json").read_text())
    described = {"train": windows["train"], "calibrate": calibrate, "test": windows["test"]}
    return described | ({"refit": json.loads((BUILD / name / REFIT / "window.json").read_text())} if refit else {})


def write_bundle(name: str, source: Path, windows: dict[str, Any], target: Path) -> str:
    """Write a bundle of a folder's files in place of the target, and return its version; nothing changes on failure.

    Raises StageError if the function's code computes other probabilities than the folder's pipeline.
    """
    declared, built, reports = declared_scorer(name), BUILD / name, REPORTS / name
    fitted = json.loads((built / "calibration.json").read_text())
    contract = declared.contract
    if contract.history:
        # Without weights: a history counts each row once, however many requests it stands for.
        label = Window(built / "rows" / "train.parquet").column(declared.label)
        usual = rounded_floats(int(label.sum()) / len(label))
        learned = contract.history.learned(declared.split.label_delay_days, usual)
        contract = contract.model_copy(update={"history": learned})
    described = {
        "scorer": name,
        "contract": contract.model_dump(mode="json"),
        "calibration": fitted["calibration"],
        "decision": fitted["decision"],
        "metrics": json.loads((reports / "metrics.json").read_text()),
        "intervals": json.loads((reports / "intervals.json").read_text()),
        "thresholds": read_table(reports / "thresholds.csv").to_dict(orient="records"),
        "importance": read_table(reports / "importance.csv").to_dict(orient="records"),
        "windows": windows,
        "libraries": libraries(),
    }
    contents = {file: (source / file).read_bytes() for file in FILES if file != "golden.json"}
    catalogue = read_text_table(built / "catalogue.csv")
    reference = json.loads(contents["reference.json"])
    requests = golden_requests(contract, reference, catalogue)
    pasts = golden_pasts(contract, reference, len(requests)) if contract.history else [{}] * len(requests)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix=f".{name}-bundle-") as scratch:
        folder = Path(scratch, "bundle")
        folder.mkdir()
        # First without golden cases, so that the function's own code can compute them; then with them.
        build_bundle(folder, contents | {"golden.json": to_json([])}, described)
        golden = _golden_cases(Scorer(load_bundle(folder)), requests, pasts)
        build_bundle(folder, contents | {"golden.json": to_json(golden)}, described)
        scorer = Scorer(load_bundle(folder))
        window, pipeline = Window(built / "rows" / "test.parquet"), joblib.load(source / "pipeline.joblib")
        frames = window.frames(window.names)
        # Rows may be later than this machine's clock, as synthetic ones are.
        timeless = Scorer(scorer.bundle, clock=lambda: END_OF_TIMES)
        with ExitStack() as stack:
            history = None
            if contract.history:
                history = stack.enter_context(closing(history_before(name, contract, built / "rows", declared)))
            worst = max(
                check_parity(
                    timeless,
                    pipeline,
                    fitted["calibration"],
                    rows,
                    completed_requests(timeless, history, rows, declared.label) if history else None,
                    first=first,
                )
                for rows, first in zip(frames, np.cumsum([0, *window.sizes[:-1]]).tolist(), strict=True)
            )
        replace_folder(folder, target)
    say(f"parity: {len(window):,} test rows, worst absolute difference {worst:.3g}")
    size = sum(path.stat().st_size for path in target.iterdir())
    say(f"bundle: {target}, version {scorer.version}, {size / 1e6:.2f} MB")
    return scorer.version


def main(name: str) -> None:
    """Package one scorer: `python -m training.package refund`."""
    built, refit, judged = BUILD / name, declared_scorer(name).split.refit, BUILD / name / JUDGED
    shutil.rmtree(judged, ignore_errors=True)
    judged.mkdir()
    if refit:
        # The twin that has not seen the test window: the metrics belong to it, and the gate judges by it.
        version = write_bundle(name, built, windows_of(name, refit=False), judged)
        windows = windows_of(name, refit=True)
        windows["refit"]["judged_by"] = version
        write_bundle(name, built / REFIT, windows, BUNDLES / name)
    else:
        write_bundle(name, built, windows_of(name, refit=False), BUNDLES / name)
    for stale in remove_undeclared(set(read_declarations().scorers)):
        say(f"removed {stale}: params.yaml no longer declares it")


def remove_undeclared(declared: set[str]) -> list[Path]:
    """Remove and return the bundles of undeclared scorers; the function would serve every bundle that it finds."""
    stale = sorted(path for path in BUNDLES.iterdir() if path.is_dir() and path.name not in declared)
    for path in stale:
        shutil.rmtree(path)
    return stale


def _golden_cases(
    scorer: Scorer, requests: list[dict[str, Any]], pasts: Sequence[dict[str, float]]
) -> list[dict[str, Any]]:
    """Requests with their pasts and probabilities; the most probable one also with its contributions to the margin."""
    cases: list[dict[str, Any]] = []
    vectors: list[list[float]] = []
    for request, past in zip(requests, pasts, strict=True):
        case: dict[str, Any] = {"request": request} | ({"past": past} if past else {})
        vectors.append(scorer.vector(scorer.golden_request(case)))
        # exp() depends on the platform; its last bits would change the version.
        probability = round(scorer.probability(scorer.bundle.booster.margin(vectors[-1])), GOLDEN_DIGITS)
        cases.append(case | {"probability": probability})
    probabilities = [float(case["probability"]) for case in cases]
    top = probabilities.index(max(probabilities))
    (contributions,) = scorer.bundle.booster.contributions([vectors[top]])
    cases[top]["contributions"] = [round(value, CONTRIBUTION_DIGITS) for value in contributions[:-1]]
    return cases


if __name__ == "__main__":
    run(main)
