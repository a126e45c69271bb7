"""The four services that are compared: an empty one, ours, ours with XGBoost's Python package, and the usual one."""

import compileall
import py_compile
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.installed import link, megabytes
from training.delivery.artifact import declared_environment

ROOT = Path(__file__).parent.parent
ARTIFACT = ROOT / ".aws-sam" / "build" / "FraudFunction"
BUNDLES = Path("build") / "bundles"
# What every subject needs; all take it from the artifact.
WEB = ("fastapi", "mangum", "pydantic")
# What a subject needs beyond that.
PACKAGES = {
    "echo": (),
    "xgboost": ("xgboost-cpu",),
    # pyarrow and tqdm, because the pickled pipeline's own modules import them.
    "joblib": ("xgboost-cpu", "joblib", "pandas", "pyarrow", "scikit-learn", "imbalanced-learn", "tqdm"),
}
SERVICES = ("echo_service.py", "joblib_service.py", "xgboost_booster.py", "xgboost_service.py")


@dataclass(frozen=True, slots=True)
class Subject:
    """A service: the module that holds its `app` and its `handler`, and the paths and environment it runs with."""

    module: str
    paths: tuple[Path, ...]
    environment: Mapping[str, str]


def make_subjects(folder: Path) -> dict[str, Subject]:
    """Each subject by its name, in the order of a round; `folder` receives what they need beside the artifact.

    Each sees the standard library, the built artifact and the packages it needs, nothing else of the virtual
    environment (XGBoost would import scikit-learn and pandas if it found them), and writes no .pyc.
    """
    services = _compiled(folder / "services")
    linked = {name: link(folder / name, packages) for name, packages in PACKAGES.items() if packages}
    function = declared_environment(ARTIFACT.parent / "template.yaml") | {"BUNDLES": str(ARTIFACT / BUNDLES)}
    return {
        "echo": Subject("echo_service", (ARTIFACT, services), function),
        "ours": Subject("handler.app", (ARTIFACT,), function),
        "xgboost": Subject("xgboost_service", (linked["xgboost"], ARTIFACT, services), function),
        "joblib": Subject(
            "joblib_service", (linked["joblib"], ARTIFACT, services), function | {"BUNDLES": str(ROOT / BUNDLES)}
        ),
    }


def artifact_mb() -> dict[str, float]:
    """What a subject's unzipped artifact weighs: ours as `make build` counts it (du -sb), others by their packages."""
    ours = sum(path.lstat().st_size for path in (ARTIFACT, *ARTIFACT.rglob("*"))) / 1e6
    return {"ours": ours} | {name: megabytes((*WEB, *packages)) for name, packages in PACKAGES.items()}


def _compiled(folder: Path) -> Path:
    """The folder, into which the services and what the pickles refer to are copied, compiled as the artifact is."""
    shutil.copytree(ROOT / "training", folder / "training", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SERVICES:
        shutil.copy(ROOT / "benchmarks" / name, folder)
    compileall.compile_dir(folder, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return folder
