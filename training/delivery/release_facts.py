"""The facts of a release card, read from the store."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from handler.releases.store import Pointer, StoreError
from handler.scoring.bundle import BundleError
from training.declaration import ScorerDeclaration
from training.delivery.pointer import read_history
from training.delivery.serving import released_scorer
from training.delivery.store_writer import StoreWriter, read_if_there
from training.errors import StageError
from training.report.release_card import PURPOSE, Approval, ReleaseCard, measured_metrics


def release_facts(store: StoreWriter, declared: ScorerDeclaration, name: str, version: str) -> ReleaseCard:
    """The content of a released version's card; raises StageError if the version was never released."""
    if (note := read_if_there(store, f"{name}/releases/{version}.json")) is None:
        raise StageError(f"{version} of {name} is not in {store}; `make releases` lists what there is")
    released, scorer = json.loads(note), released_scorer(store, name, version)
    manifest, contract = scorer.bundle.manifest, scorer.contract
    history = read_history(store, name)
    approved, predecessor = _approval_of(history, version)
    before = _manifest_of(store, name, predecessor)
    now = history[-1] if history else None
    role = next((role for role in ("current", "previous", "shadow") if now and getattr(now, role) == version), "")
    files = store.names(f"{name}/bundles/{version}")
    gate = (approved.gate if approved else None) or {}
    return ReleaseCard(
        scorer=name,
        version=version,
        role=role,
        purpose=PURPOSE,
        owner=declared.owner,
        built_by=released["by"],
        built_at=released["at"],
        commit=released["commit"],
        libraries=dict(scorer.bundle.libraries),
        signatures=sum(file.endswith(".sig") for file in files),
        approval=Approval(
            at=approved.at,
            by=approved.by,
            forced=approved.reason,
            objections=tuple(gate.get("objections", ())),
            doubts=tuple(gate.get("doubts", ())),
        )
        if approved
        else None,
        predecessor=predecessor,
        changes=tuple(changes_of(manifest, before)) if before else (),
        windows=manifest["windows"],
        metrics=measured_metrics(manifest, before),
        customer_reasons={feature: reason.model_dump() for feature, reason in contract.customer_reasons.items()},
        changeable=tuple(field for field, of_field in contract.fields.items() if of_field.changeable),
        audited=contract.audited,
    )


def changes_of(manifest: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two manifests, one sentence each."""
    own, other = manifest["contract"], before["contract"]
    for kind, now, then in (
        ("fields", own["fields"], other["fields"]),
        ("features", own["features"], other["features"]),
        *(
            (f"history {part}", (own.get("history") or {}).get(part, {}), (other.get("history") or {}).get(part, {}))
            for part in ("entities", "features")
        ),
    ):
        groups = {
            "added": sorted(now.keys() - then.keys()),
            "removed": sorted(then.keys() - now.keys()),
            "declared differently": sorted(name for name in now.keys() & then.keys() if now[name] != then[name]),
        }
        yield from (f"{kind} {what}: {', '.join(names)}" for what, names in groups.items() if names)
    for key in ("route", "answer", "id", "time"):
        if own.get(key) != other.get(key):
            yield f"{key}: {other.get(key)} became {own.get(key)}"
    for name, policy in (("decision", manifest["decision"]), ("calibration", manifest["calibration"])):
        if policy != before[name]:
            yield f"{name}: {_flat(before[name])} became {_flat(policy)}"
    for window, described in manifest["windows"].items():
        then = before["windows"].get(window)
        if then and (then["from"], then["to"]) != (described["from"], described["to"]):
            yield f"{window} window: {then['from']} to {then['to']} became {described['from']} to {described['to']}"


def _flat(content: Mapping[str, Any], prefix: str = "") -> str:
    parts = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            parts.append(_flat(value, f"{prefix}{key}."))
        else:
            parts.append(f"{prefix}{key} {value:.6g}" if isinstance(value, float) else f"{prefix}{key} {value}")
    return ", ".join(part for part in parts if part)


def _manifest_of(store: StoreWriter, name: str, version: str | None) -> Mapping[str, Any] | None:
    """The manifest of a predecessor; None if there is none, or if it can no longer be loaded."""
    try:
        return released_scorer(store, name, version).bundle.manifest if version else None
    except (BundleError, StageError, StoreError):
        return None


def _approval_of(history: Sequence[Pointer], version: str) -> tuple[Pointer | None, str | None]:
    """The last update that put the version into production, and the version that it replaced."""
    approved, predecessor, current = None, None, None
    for pointer in history:
        if pointer.current == version != current:
            approved, predecessor = pointer, current
        current = pointer.current
    return approved, predecessor
