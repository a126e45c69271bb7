"""Bundles of the scorer of synthetic payments, with its history and without, trained on demand."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.command import ROOT
from benchmarks.history.payments import SCORER, scorer_in, write_rows
from benchmarks.variants import contents_of
from handler.scoring.bundle import MANIFEST, to_json
from training.package import build_bundle
from training.run.files import BUNDLES

# The stages from rows to a bundle. They run in a separate interpreter, because they use the working folder.
STAGES = ("catalogue", "prepare", "compare", "tune", "train", "calibrate", "evaluate", "baseline", "package")
RUN_STAGES = f"""
import importlib
for stage in {STAGES!r}:
    importlib.import_module(f"training.{{stage}}").main({SCORER!r})
"""


@cache
def trained_contents(n_rows: int) -> dict[str, bytes]:
    """The files of the bundle of a scorer trained on `n_rows` rows; each process trains it only once."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / scorer_in(folder).data, n_rows)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", RUN_STAGES], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"the scorer of the benchmark could not be trained: {done.stderr}")
        return contents_of(folder / BUNDLES / SCORER)


def trained_bundles(folder: Path, n_rows: int) -> tuple[Path, Path]:
    """Two folders: the bundle of a scorer trained on `n_rows` rows, and the same bundle without its history.

    The latter has the same model, but a request may carry the history's features as fields. The threshold is 1, so that
    no request is flagged: computing the reasons of a flagged request would hide what is measured.
    """
    contents = dict(trained_contents(n_rows))
    manifest = json.loads(contents.pop(MANIFEST))
    described = {key: value for key, value in manifest.items() if key not in {"format", "files", "version"}}
    described["decision"] |= {"threshold": 1.0}
    with_history, without = folder / "with", folder / "without"
    for bundles in (with_history, without):
        (bundles / SCORER).mkdir(parents=True)
    build_bundle(with_history / SCORER, contents, described)
    contract = described["contract"]
    computed = {
        name: {"type": "flag" if feature["take"] == "seen" else "number"}
        for name, feature in contract["history"]["features"].items()
    }
    fields = {"amount": contract["fields"]["amount"], **computed}
    golden = json.loads(contents["golden.json"])
    for case in golden:
        given = {key: value for key, value in case["request"].items() if key in {"payment_id", "amount"}}
        case["request"] = given | case.pop("past", {})
    described["contract"] = contract | {"history": None, "fields": fields, "time": None}
    build_bundle(without / SCORER, contents | {"golden.json": to_json(golden)}, described)
    return with_history, without
