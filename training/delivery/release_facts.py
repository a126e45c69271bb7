"""The facts of a release card, as the store has them."""

import json

from handler.releases.store import Pointer
from training.declaration import ScorerDeclaration
from training.delivery.contenders import released_scorer
from training.delivery.pointer import read_history
from training.delivery.store_writer import StoreWriter, read_if_there
from training.errors import StageError
from training.report.release_card import PURPOSE, Approval, ReleaseCard, changes_of, measured_metrics


def release_card(store: StoreWriter, declared: ScorerDeclaration, name: str, version: str) -> ReleaseCard:
    """The card of a released version; raises StageError where it was never released."""
    if (note := read_if_there(store, f"{name}/releases/{version}.json")) is None:
        raise StageError(f"{version} of {name} is not in {store}; `make releases` lists what there is")
    released, manifest = json.loads(note), released_scorer(store, name, version).bundle.manifest
    history = read_history(store, name)
    approved = _approval_of(history, version)
    predecessor = approved.previous if approved else None
    before = released_scorer(store, name, predecessor).bundle.manifest if predecessor else None
    contract = released_scorer(store, name, version).contract
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
        changeable=tuple(field for field, known in contract.fields.items() if known.changeable),
        audited=contract.audited,
    )


def _approval_of(history: list[Pointer], version: str) -> Pointer | None:
    """The first update that put a version into production."""
    return next((pointer for pointer in history if pointer.action == "promote" and pointer.current == version), None)
