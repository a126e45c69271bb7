"""The four services that are compared: an empty one, ours, ours with XGBoost's Python package, and joblib + pandas."""

import compileall
import os
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, distribution
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.command import ROOT
from training.delivery.template import declared_environment
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


@dataclass(frozen=True, slots=True)
class Service:
    """The module that holds a service's `app` and `handler`, the paths and environment it runs with, its folder."""

    module: str
    paths: tuple[Path, ...]
    environment: Mapping[str, str]
    folder: Path

    @property
    def python_environment(self) -> dict[str, str]:
        """The environment variables with which an interpreter finds the service."""
        return {**self.environment, "PYTHONPATH": ":".join(map(str, self.paths))}


def checkout_service(**settings: str) -> Service:
    """The function from the checkout, with the whole virtual environment and these settings."""
    bundles = ROOT / BUNDLES
    environment = {**os.environ, "BUNDLES": str(bundles), **settings}
    return Service("handler.app", (ROOT, Path(sysconfig.get_path("purelib"))), environment, bundles)


def built_service() -> Service:
    """The function as `make build` packs it, with what the template sets; raises SystemExit if it is not built."""
    if not (ARTIFACT / BUNDLES).is_dir():
        raise SystemExit(f"{ARTIFACT} is not built; run `make build`")
    environment = declared_environment(ARTIFACT.parent / "template.yaml") | {"BUNDLES": str(ARTIFACT / BUNDLES)}
    return Service("handler.app", (ARTIFACT,), environment, ARTIFACT)


def compared_services(function: Service, folder: Path) -> dict[str, Service]:
    """Each service by its name, in the order of a round; `folder` receives links to their packages.

    A service sees the standard library, the function's packages, the packages that it needs itself and this
    repository's modules, but nothing else of the virtual environment (XGBoost would import scikit-learn and pandas if
    it found them). The same holds if the function is from the checkout, and itself sees the whole environment: a
    service that lacks a package still fails.
    """
    # Compiled here, because a service's process writes no .pyc.
    compileall.compile_dir(Path(__file__).parent, quiet=1)
    services = {"ours": function}
    shared = function.paths if function.folder == ARTIFACT else (link(folder / "web", WEB),)
    for name, packages in PACKAGES.items():
        paths = (link(folder / name, packages), *shared, ROOT)
        services[name] = replace(function, module=f"benchmarks.serving.{name}_service", paths=paths)
    pickles = {**function.environment, "BUNDLES": str(ROOT / BUNDLES)}
    return services | {"joblib": replace(services["joblib"], environment=pickles)}


def required(names: Iterable[str]) -> list[Distribution]:
    """These distributions and all that they require on this machine, without extras."""
    distributions: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        if (name := canonicalize_name(waiting.pop())) not in distributions:
            distributions[name] = distribution(name)
            needs = map(Requirement, distributions[name].requires or ())
            waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return list(distributions.values())


def link(folder: Path, names: Iterable[str]) -> Path:
    """Link distributions and all they require into a new folder, as if only they were installed there; returns it."""
    folder.mkdir()
    for package in required(names):
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(package.locate_file(top)))
    return folder


def megabytes(names: Iterable[str]) -> float:
    """The size in MB of distributions with all they require, including their .pyc files but not their commands."""
    files = (file for package in required(names) for file in package.files or () if ".." not in file.parts)
    listed = {Path(str(file.locate())) for file in files}
    # uv compiles after it has written the list of files, which therefore has no .pyc.
    compiled = {Path(cache_from_source(str(path))) for path in listed if path.suffix == ".py"}
    return sum(path.stat().st_size for path in listed | compiled if path.is_file()) / 1e6


def folders_mb(function: Service) -> dict[str, float]:
    """The unzipped size of each service in MB: ours as `make build` counts it (du -sb), others by their packages."""
    ours = sum(path.lstat().st_size for path in (function.folder, *function.folder.rglob("*"))) / 1e6
    return {"ours": ours} | {name: megabytes((*WEB, *packages)) for name, packages in PACKAGES.items()}
