"""The promotion gate: whether a challenger may replace the champion, judged by their answers to the same rows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from handler.releases.compatibility import breaking_changes
from handler.scoring.contract import Contract
from handler.scoring.scorer import Scorer
from handler.scoring.times import END_OF_TIMES
from training.batch.answers import answer_rows
from training.data.times import dates_of, timestamp_text
from training.declaration import ScorerDeclaration
from training.delivery.contenders import Contender, overlap_with
from training.delivery.gate_verdict import GateMeasures, GateVerdict
from training.delivery.weighing import JudgedRows, ModelAnswers, agreed_rate, weigh, weigh_first
from training.errors import DataError
from training.evaluation.intervals import entity_groups
from training.params import Decision


def judge_challenger(
    champion: Contender | None,
    challenger: Contender,
    rows: pd.DataFrame,
    declared: ScorerDeclaration,
    best_former: Contender | None = None,
) -> GateVerdict:
    """The verdict on a challenger: it must be calibrated, and neither rank nor catch worse (`weighing` has the rules).

    `rows` are recent, such as `check_columns` accepts, and the challenger has not learned from them. The gains are the
    challenger's less the champion's, with their paired 95 % bootstrap intervals; the alert budget is the share of the
    rows that the champion flags. Without a champion it must keep its policy instead.
    """
    objections = _contract_objections(champion, challenger)
    first, doubts = rows[declared.time].min(), []
    if overlap := overlap_with(challenger, first):
        objections.append(f"it {overlap}")
    if champion and (overlap := overlap_with(champion, first)):
        doubts.append(f"the champion, {champion.version}, {overlap}; only later rows can compare the two")
    accepted, answers = _scored([challenger, champion] if champion else [challenger], rows)
    labels = rows[declared.label].to_numpy()[accepted]
    measured = {"rows": len(labels), "frauds": int(labels.sum()), "left_out": len(rows) - len(labels)}
    if not 0 < labels.sum() < len(labels):
        lack = (
            f"the window has {labels.sum():,} frauds in {len(labels):,} rows that both take; a gate needs both classes"
        )
        return GateVerdict(GateMeasures(rows=len(labels)), tuple(objections), (*doubts, lack))
    if len(rows) - len(labels) > declared.gate.max_left_out * len(rows):
        objections.append(
            f"{len(rows) - len(labels):,} of the window's {len(rows):,} rows are not requests that both take"
        )
    groups = entity_groups(rows[declared.entity].iloc[accepted]) if declared.entity else None
    judged = JudgedRows(labels, declared.gate, declared.seed, groups)
    if champion is None:
        policy = Decision.model_validate(challenger.scorer.bundle.manifest["decision"]["policy"])
        verdict = weigh_first(answers[0], judged, policy)
    else:
        agreed = agreed_rate(champion.scorer.bundle.baseline["score"])
        former = _answers_to(best_former, rows.iloc[accepted]) if best_former else None
        verdict = weigh(answers[0], answers[1], former, judged, agreed=agreed)
    window = (timestamp_text(first), timestamp_text(rows[declared.time].max()))
    described = verdict.measured.model_copy(update={"window": window, **measured}).rounded()
    return GateVerdict(described, (*objections, *verdict.objections), (*doubts, *verdict.doubts))


def _contract_objections(champion: Contender | None, challenger: Contender) -> list[str]:
    changes = breaking_changes(champion.scorer.contract, challenger.scorer.contract) if champion else []
    return [f"its contract is not the champion's: {change}" for change in changes]


def check_columns(rows: pd.DataFrame, challenger: Scorer, declared: ScorerDeclaration) -> None:
    """Raise DataError where the rows are not as `prepare` leaves them."""
    entity = [declared.entity] if declared.entity else []
    needed = [declared.time, declared.label, *entity, *challenger.contract.inputs]
    if missing := sorted(set(needed) - set(rows.columns)):
        raise DataError(
            f"the rows have no {', '.join(missing)}; they must be the scorer's own, as `prepare` leaves them"
        )
    if not (is_numeric_dtype(rows[declared.time]) and is_numeric_dtype(rows[declared.label])):
        raise DataError(
            f"{declared.time} and {declared.label} must be numbers (seconds; 0 and 1), as `prepare` leaves them"
        )


def _scored(contenders: Sequence[Contender], rows: pd.DataFrame) -> tuple[pd.Index, list[ModelAnswers]]:
    """The positions of the rows that all contenders accept, and each one's answers to these."""
    rows = rows.reset_index(drop=True)
    answers = [_answered(contender.scorer, rows) for contender in contenders]
    accepted = answers[0].index
    for answered in answers[1:]:
        accepted = accepted.intersection(answered.index)
    pairs = zip(contenders, answers, strict=True)
    return accepted, [_model_answers(contender, answered.loc[accepted]) for contender, answered in pairs]


def _as_file(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The contract's inputs of prepared rows as a file holds them: dates as dates, not as seconds."""
    inputs = rows[rows.columns.intersection([*contract.inputs])]
    dates = [name for name in inputs if name in contract.fields and contract.fields[name].type == "date"]
    return inputs.assign(**{name: dates_of(inputs[name]) for name in dates})


def _answers_to(former: Contender, rows: pd.DataFrame) -> ModelAnswers | None:
    """A former release's answers to rows that the others accept; None where its contract was too narrow for all."""
    answered = _answered(former.scorer, rows)
    return _model_answers(former, answered) if len(answered) == len(rows) else None


def _answered(scorer: Scorer, rows: pd.DataFrame) -> pd.DataFrame:
    # Rows may be later than this machine's clock, as synthetic ones are.
    return answer_rows(scorer, _as_file(rows, scorer.contract), now=END_OF_TIMES).answered


def _model_answers(contender: Contender, answered: pd.DataFrame) -> ModelAnswers:
    return ModelAnswers(
        contender.version, answered["fraud_probability"].to_numpy(np.float64), answered["is_flagged"].to_numpy(bool)
    )
