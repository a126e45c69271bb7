"""Runs, registered versions and aliases in MLflow."""

import hashlib
import json
import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any

from handler.releases.store import Pointer
from training.declaration import declared_scorer
from training.errors import StageError
from training.report.card_figures import pictures
from training.report.card_reports import read_reports
from training.run.files import BUNDLES, REPORTS
from training.run.provenance import LOCK, origin

LOCAL = "sqlite:///mlflow.db"
CHAMPION, SHADOW = "champion", "shadow"
# What MLflow says if its server does not answer, or answers with an error of its own.
NO_ANSWER = re.compile(r"API request to .* failed with (exception|timeout exception|error code 5)")
# Give up on an absent server within seconds rather than minutes, and send no telemetry.
_DEFAULTS = {
    "MLFLOW_TRACKING_URI": LOCAL,
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class TrackError(StageError):
    """Raised when MLflow cannot be reached, or refuses."""


class UnreachableError(TrackError):
    """Raised when MLflow's server does not answer."""


def registered_name(scorer: str) -> str:
    """The name of a scorer's registered model."""
    return f"fraud-scorer-{scorer}"


class Tracker:
    """MLflow, as this project uses it. Every method raises TrackError if MLflow cannot be reached, or refuses."""

    def __init__(self) -> None:
        """Connect to the server that the environment names, or open the local file."""
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        # It may name another job's run, to which MLflow would write.
        os.environ.pop("MLFLOW_RUN_ID", None)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's own, when it is imported
            import mlflow  # noqa: PLC0415 - takes two seconds, which only tracking needs

        self._mlflow = mlflow
        self.address = os.environ["MLFLOW_TRACKING_URI"]
        try:
            mlflow.set_tracking_uri(self.address)
            self.client = mlflow.MlflowClient()
        except Exception as error:
            raise self._failed(error) from error

    def track(self, scorer: str) -> str:
        """The id of the run that holds the current build; it is created if there is none yet."""
        try:
            return self._track(scorer)
        except FileNotFoundError as error:
            raise TrackError(f"{error.filename} is missing; `make train` makes it") from error
        except (self._mlflow.exceptions.MlflowException, OSError) as error:
            raise self._failed(error) from error

    def point(self, scorer: str, pointer: Pointer) -> None:
        """Set the aliases champion and shadow to the versions that a pointer names, and remove them from all others."""
        try:
            unknown = [
                version
                for alias, version in ((CHAMPION, pointer.current), (SHADOW, pointer.shadow))
                if not self._alias(scorer, alias, version) and version
            ]
        except (self._mlflow.exceptions.MlflowException, OSError) as error:
            raise self._failed(error) from error
        if unknown:
            raise TrackError(
                f"{registered_name(scorer)} at {self.address} has no version {', '.join(unknown)}; "
                "run `make track` in the checkout that made it"
            )

    def _failed(self, error: Exception) -> TrackError:
        first = str(error).strip().splitlines() or [type(error).__name__]
        sentence = f"MLflow at {self.address}: {first[0]}"
        if NO_ANSWER.search(first[0]):
            return UnreachableError(f"{sentence}; `make track` brings it up to date later")
        return TrackError(sentence)

    def _track(self, scorer: str) -> str:
        version = json.loads((BUNDLES / scorer / "manifest.json").read_bytes())["version"]
        provenance = origin()
        tags = {"scorer": scorer, "bundle_version": version, "dvc_lock_sha256": provenance["dvc_lock_sha256"] or "none"}
        experiment = self._experiment(registered_name(scorer))
        same = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
        finished = f"{same} and attributes.status = 'FINISHED'"
        if runs := self.client.search_runs([experiment], finished, max_results=1):
            run_id: str = runs[0].info.run_id
        else:
            tags["git_commit"] = provenance["commit"] or "none"
            with self._mlflow.start_run(experiment_id=experiment, run_name=version, tags=tags) as run:
                self._log(scorer)
                run_id = run.info.run_id
        self._register(scorer, version, run_id)
        return run_id

    def _experiment(self, name: str) -> str:
        """The id of an experiment, which is created if there is none."""
        existing = self.client.get_experiment_by_name(name)
        if existing and existing.lifecycle_stage == "deleted":
            raise TrackError(
                f"the experiment {name} of MLflow at {self.address} was deleted; `MLFLOW_TRACKING_URI={self.address} "
                f".venv/bin/mlflow experiments restore -x {existing.experiment_id}` restores it"
            )
        experiment: str = self._mlflow.set_experiment(name).experiment_id
        return experiment

    def _log(self, scorer: str) -> None:
        """Parameters, metrics with their intervals, plots, reports with the model card, and the bundle itself."""
        mlflow, declared = self._mlflow, declared_scorer(scorer)
        folder = REPORTS / scorer
        training = json.loads((folder / "training.json").read_text())
        blocks = declared.model_dump(mode="json", include={"split", "resampling", "tuning", "decision", "seed"})
        mlflow.log_params({key: _short(value) for key, value in _flat({**blocks, "training": training})})
        metrics = json.loads((folder / "metrics.json").read_text())
        bounds = json.loads((folder / "intervals.json").read_text())
        for name, (low, high) in bounds.items():
            metrics |= {f"{name}_low": low, f"{name}_high": high}
        mlflow.log_metrics(metrics)
        for name, picture in pictures(read_reports(scorer, declared)).items():
            mlflow.log_figure(picture.draw(), f"plots/{name}.png")
        mlflow.log_artifacts(str(folder), "reports")
        for path in (Path("params.yaml"), LOCK):
            if path.exists():
                mlflow.log_artifact(str(path))
        mlflow.log_artifacts(str(BUNDLES / scorer), "bundle")

    def _register(self, scorer: str, version: str, run_id: str) -> None:
        """Register the run's bundle as a version of the model, unless it is registered."""
        name = registered_name(scorer)
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        if self._number_of(scorer, version) is None:
            source = f"{self.client.get_run(run_id).info.artifact_uri}/bundle"
            self.client.create_model_version(name, source, run_id=run_id, tags={"bundle_version": version})

    def _number_of(self, scorer: str, version: str) -> str | None:
        """MLflow's own number of a bundle's version."""
        models = self.client.search_model_versions(f"name = '{registered_name(scorer)}'")
        return next((str(model.version) for model in models if model.tags.get("bundle_version") == version), None)

    def _alias(self, scorer: str, alias: str, version: str | None) -> bool:
        """Set the alias and return whether MLflow knows the version; if it does not, the alias is removed."""
        name = registered_name(scorer)
        number = version and self._number_of(scorer, version)
        if number:
            self.client.set_registered_model_alias(name, alias, number)
        elif alias in self.client.get_registered_model(name).aliases:
            self.client.delete_registered_model_alias(name, alias)
        return bool(number)


def _flat(content: Any, start: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401 - whatever JSON can hold
    """The leaves of nested dicts with their dotted paths."""
    if not isinstance(content, dict) or not content:
        return [(start, content)]
    return [leaf for key, value in content.items() for leaf in _flat(value, f"{start}.{key}" if start else str(key))]


def _short(value: object) -> str:
    """A parameter's value, or its hash if it is too long for MLflow; the reports hold the whole value."""
    text = json.dumps(value)
    return text if len(text) <= 500 else f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"  # noqa: PLR2004 - older servers' limit
