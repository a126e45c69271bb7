"""The four services that are compared: an empty one, ours, ours with XGBoost's Python package, and joblib + pandas."""

import compileall
import importlib.util
import json
import os
import py_compile
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.command import ROOT
from benchmarks.serving.installed import link, megabytes
from training.delivery.artifact import declared_environment
from training.run.files import BUNDLES

ARTIFACT = ROOT / ".aws-sam" / "build" / "FraudFunction"
# What every service needs; all take it from the artifact.
WEB = ("fastapi", "mangum", "pydantic")
# What a service needs beyond that.
PACKAGES = {
    "echo": (),
    "xgboost": ("xgboost-cpu",),
    # pyarrow and tqdm, because the pickled pipeline's own modules import them.
    "joblib": ("xgboost-cpu", "joblib", "pandas", "pyarrow", "scikit-learn", "imbalanced-learn", "tqdm"),
}
MODULES = ("echo_service.py", "joblib_service.py", "xgboost_booster.py", "xgboost_service.py", "piped_service.py")


@dataclass(frozen=True, slots=True)
class Service:
    """The module that holds a service's `app` and `handler`, the paths and environment it runs with, the artifact."""

    module: str
    paths: tuple[Path, ...]
    environment: Mapping[str, str]
    artifact: Path


def make_services(folder: Path, artifact: Path) -> dict[str, Service]:
    """Each service by its name, in the order of a round; `folder` receives what they need beside the artifact.

    Each sees the standard library, the artifact and the packages it needs, nothing else of the virtual environment
    (XGBoost would import scikit-learn and pandas if it found them), and writes no .pyc.
    """
    modules = compiled_modules(folder / "services")
    linked = {name: link(folder / name, packages) for name, packages in PACKAGES.items() if packages}
    function = function_environment(artifact)
    pickles = function | {"BUNDLES": str(ROOT / BUNDLES)}
    return {
        "echo": Service("echo_service", (artifact, modules), function, artifact),
        "ours": Service("handler.app", (artifact,), function, artifact),
        "xgboost": Service("xgboost_service", (linked["xgboost"], artifact, modules), function, artifact),
        "joblib": Service("joblib_service", (linked["joblib"], artifact, modules), pickles, artifact),
    }


def checkout_service(**settings: str) -> Service:
    """The function as the checkout has it, with the whole virtual environment and these settings."""
    environment = {**os.environ, "BUNDLES": str(ROOT / BUNDLES), **settings}
    return Service("handler.app", (ROOT, Path(sysconfig.get_path("purelib"))), environment, ROOT)


def function_environment(artifact: Path) -> dict[str, str]:
    """What the function's environment holds: what the template sets, and the artifact's own bundles."""
    return declared_environment(artifact.parent / "template.yaml") | {"BUNDLES": str(artifact / BUNDLES)}


def compiled_modules(folder: Path) -> Path:
    """The folder, into which the services and what the pickles refer to are copied, compiled as the artifact is."""
    shutil.copytree(ROOT / "training", folder / "training", ignore=shutil.ignore_patterns("__pycache__"))
    for name in MODULES:
        shutil.copy(Path(__file__).with_name(name), folder)
    compileall.compile_dir(folder, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return folder


def artifact_in(folder: Path, *, smallest: bool) -> Path:
    """The built artifact; for the smallest run, which measures nothing, one that is linked together in `folder`."""
    if smallest:
        return _linked_artifact(folder)
    if not (ARTIFACT / BUNDLES).is_dir():
        raise SystemExit(f"{ARTIFACT} is not built; run `make build`")
    return ARTIFACT


def _linked_artifact(folder: Path) -> Path:
    """What `make build` would pack, from the checkout and the virtual environment."""
    artifact = link(folder / "artifact", WEB)
    package = importlib.util.find_spec("xgboost")
    origin = package.origin if package else None
    assert origin  # noqa: S101 - for the type checker: it is installed
    (artifact / "xgboost").mkdir()
    (artifact / "xgboost" / "lib").symlink_to(Path(origin).with_name("lib"))
    (artifact / "handler").symlink_to(ROOT / "handler")
    (artifact / BUNDLES.parent).symlink_to(ROOT / BUNDLES.parent)
    function = YAML().load(ROOT / "template.yaml")["Resources"]["FraudFunction"]
    variables = function["Properties"]["Environment"]["Variables"]
    texts = {name: value for name, value in variables.items() if isinstance(value, str)}
    template = {"Resources": {"FraudFunction": {"Properties": {"Environment": {"Variables": texts}}}}}
    (folder / "template.yaml").write_text(json.dumps(template), encoding="utf-8")
    return artifact


def artifact_mb(artifact: Path) -> dict[str, float]:
    """What an unzipped artifact weighs: ours as `make build` counts it (du -sb), others by their packages."""
    ours = sum(path.lstat().st_size for path in (artifact, *artifact.rglob("*"))) / 1e6
    return {"ours": ours} | {name: megabytes((*WEB, *packages)) for name, packages in PACKAGES.items()}
