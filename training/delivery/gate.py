"""The promotion gate: whether a challenger may replace the champion, judged by their answers to the same rows."""

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from handler.releases.compatibility import breaking_changes
from handler.scoring.contract import Contract
from handler.scoring.scorer import Scorer
from handler.scoring.times import END_OF_TIMES
from training.batch.answers import BAND, answer_rows
from training.data.times import dates_of, timestamp_text
from training.data.window import GIVEN, drawn_by, repeated
from training.declaration import ScorerDeclaration
from training.delivery.contenders import Contender, overlap_with, warn_of_former
from training.delivery.gate_verdict import GateMeasures, GateVerdict
from training.delivery.weighing import JudgedRows, ModelAnswers, agreed_rate, weigh, weigh_first
from training.errors import DataError
from training.evaluation.intervals import entity_groups
from training.params import Policy


def judge_challenger(
    champion: Contender | None,
    challenger: Contender,
    rows: pd.DataFrame,
    declared: ScorerDeclaration,
    best_former: Contender | None = None,
) -> GateVerdict:
    """The gate's verdict: a challenger must be calibrated, and rank and catch no worse (`weighing` has the rules).

    `rows` are recent rows that `require_prepared_columns` accepts and from which the challenger has not learned. They
    hold the history features of each contender whose own `past` is None, and count as often as a declared `weight`
    says. Gains are the challenger's metrics minus the champion's, with paired 95 % bootstrap intervals; the alert
    budget is the share of the rows that the champion flags. Without a champion, the challenger must keep its policy
    instead. A best former release that does not accept nearly all rows that the others accept is left out with a
    warning.
    """
    objections = _contract_objections(champion, challenger)
    first, doubts = rows[declared.time].min(), []
    if overlap := overlap_with(challenger, first):
        objections.append(f"it {overlap}")
    if champion and (overlap := overlap_with(champion, first)):
        doubts.append(f"the champion, {champion.version}, {overlap}; the two can be compared only on later rows")
    rows = rows.reset_index(drop=True)
    contenders = [challenger, champion] if champion else [challenger]
    answered = [_answered(contender, rows) for contender in contenders]
    accepted = rows.loc[answered[0].index.intersection(answered[-1].index)]
    n_left_out, takers = len(rows) - len(accepted), "both accept" if champion else "it accepts"
    if n_left_out > declared.gate.max_left_out * len(rows):
        whose = "the contract of the champion or the challenger" if champion else "its contract"
        objections.append(
            f"{n_left_out:,} of the window's {len(rows):,} rows are rejected by {whose}; gate.max_left_out is "
            f"{declared.gate.max_left_out:g}"
        )
    labels = accepted[declared.label]
    if declared.split.weight:
        labels = labels.iloc[repeated(accepted[declared.split.weight].to_numpy())]
    if not 0 < labels.sum() < len(labels):
        lack = (
            f"{labels.sum():,} of the window's {len(labels):,} rows that {takers} are frauds; the gate needs both "
            "frauds and other rows: declare a longer test window"
        )
        return GateVerdict(GateMeasures(rows=len(labels)), tuple(objections), (*doubts, lack))
    if champion and best_former:
        of_former = _answered(best_former, rows.loc[labels.index.unique()])
        if reason := _left_out_by_former(labels, of_former.index, declared.gate.max_left_out):
            warn_of_former(best_former.version, reason)
        else:
            contenders.append(best_former)
            answered.append(of_former)
            n_left_out += labels.index.nunique() - len(of_former)
            labels = labels[labels.index.isin(of_former.index)]
    pairs = zip(contenders, answered, strict=True)
    answers = [_model_answers(contender, frame.loc[labels.index]) for contender, frame in pairs]
    entity = rows.loc[labels.index, declared.entity] if declared.entity else None
    copy_of = labels.index.to_numpy() if declared.split.weight else None
    together = drawn_by(entity, copy_of)
    groups = None if together is None else entity_groups(together)
    judged = JudgedRows(labels.to_numpy(), declared.gate, declared.seed, groups, copy_of)
    decision = challenger.scorer.bundle.manifest["decision"]
    policy = Policy.model_validate(decision["policy"])
    block_policy = Policy.model_validate(decision["block"]["policy"]) if "block" in decision else None
    if champion is None:
        verdict = weigh_first(answers[0], judged, policy, block_policy)
    else:
        score = champion.scorer.bundle.baseline["score"]
        verdict = weigh(
            answers[0],
            answers[1],
            answers[2] if answers[2:] else None,
            judged,
            agreed=agreed_rate(score),
            agreed_blocks=agreed_rate(score, "blocked"),
            policy=policy,
            block_policy=block_policy,
        )
    measured = {"rows": len(labels), "frauds": int(labels.sum()), "left_out": n_left_out}
    window = (timestamp_text(first), timestamp_text(rows[declared.time].max()))
    described = verdict.measured.model_copy(update={"window": window, **measured}).rounded()
    return GateVerdict(described, (*objections, *verdict.objections), (*doubts, *verdict.doubts))


def _contract_objections(champion: Contender | None, challenger: Contender) -> list[str]:
    """The contract changes that callers would notice: requests no longer accepted, and answer keys no longer given."""
    if champion is None:
        return []
    own, others = (
        {"band": contender.scorer.block is not None, "score": contender.scorer.scale is not None}
        for contender in (challenger, champion)
    )
    changes = breaking_changes(champion.scorer.contract, challenger.scorer.contract)
    changes += [f"its answers have no {key}" for key, has in others.items() if has and not own[key]]
    return [f"its contract breaks the champion's: {change}" for change in changes]


def require_prepared_columns(rows: pd.DataFrame, challenger: Scorer, declared: ScorerDeclaration) -> None:
    """Raise DataError if the gate's rows lack columns that `prepare` writes, or have them in another type."""
    others = filter(None, (declared.entity, declared.split.weight))
    needed = [declared.time, declared.label, *others, *challenger.contract.keys, *challenger.contract.inputs]
    if missing := sorted(set(needed) - set(rows.columns)):
        raise DataError(
            f"the rows lack the columns {', '.join(missing)}; they must be the scorer's own, as `prepare` writes them"
        )
    if not (is_numeric_dtype(rows[declared.time]) and is_numeric_dtype(rows[declared.label])):
        raise DataError(
            f"{declared.time} and {declared.label} must be numbers (seconds; 0 and 1), as `prepare` writes them"
        )


def _as_file(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The contract's inputs of prepared rows as an input file holds them: dates as dates, not as seconds."""
    inputs = rows[rows.columns.intersection([*contract.keys, *contract.inputs, *filter(None, (contract.time_key,))])]
    dates = [name for name in inputs if name in contract.fields and contract.fields[name].type == "date"]
    return inputs.assign(**{name: dates_of(inputs[name]) for name in dates})


def _left_out_by_former(labels: pd.Series, accepted: pd.Index, max_left_out: float) -> str | None:
    """Why a former release is not compared: it accepts too few of the rows that the others accept; None if enough.

    Each class is checked, because frauds are so few that a small share of the rows may hold all of them.
    """
    left_out = labels.drop(accepted)
    n_frauds, n_others = int(labels.sum()), int((1 - labels).sum())
    lost_frauds, lost_others = int(left_out.sum()), int((1 - left_out).sum())
    if lost_frauds <= max_left_out * n_frauds and lost_others <= max_left_out * n_others:
        return None
    return (
        f"its contract rejects {lost_frauds:,} of {n_frauds:,} frauds and {lost_others:,} of {n_others:,} other rows; "
        f"gate.max_left_out is {max_left_out:g}"
    )


def _answered(contender: Contender, rows: pd.DataFrame) -> pd.DataFrame:
    """The answers to the rows that a contender accepts, by the index of the rows."""
    contract = contender.scorer.contract
    if contender.past is not None:
        # Fields as callers sent them, because values that another history filled in are not this one's.
        given = {name: rows[f"{name}{GIVEN}"] for name in contract.fields if f"{name}{GIVEN}" in rows}
        rows = rows.assign(**given).drop(columns=set(contract.columns) - set(contract.fields), errors="ignore")
    # Rows may be later than this machine's clock, as synthetic ones are.
    answers = answer_rows(contender.scorer, _as_file(rows, contract), now=END_OF_TIMES, past=contender.past)
    return answers.answered


def _model_answers(contender: Contender, answered: pd.DataFrame) -> ModelAnswers:
    return ModelAnswers(
        contender.version,
        answered["fraud_probability"].to_numpy(np.float64),
        answered["is_flagged"].to_numpy(bool),
        (answered[BAND] == "block").to_numpy(bool) if BAND in answered else None,
    )
