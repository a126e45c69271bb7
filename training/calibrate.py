"""Fit Platt's two parameters and the policy's threshold on margins of rows later than those the models were fitted on.

By default these rows are the validation blocks of the training window, each scored by a model of the rows before it. If
a separate calibration window is declared, they are its rows, scored by the trained model.
"""

import json

import joblib
import pandas as pd

from training.data.split import window_report
from training.data.window import Window, read_training
from training.declaration import ScorerDeclaration
from training.evaluation.calibration import calibrated, fit_platt
from training.evaluation.cost import declared_money
from training.evaluation.intervals import entity_groups
from training.evaluation.threshold import beyond_capacity, decided, operating_points, overstated_confidence
from training.model.chosen import chosen_model, chosen_scorer
from training.model.distributions import score_distribution, score_scale
from training.model.encoder import FeatureEncoder
from training.model.fit import fit_model, matrix_margins, pipeline_of
from training.model.folds import declared_positions, out_of_time_margins
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, REPORTS, write_json, write_text, write_whole
from training.run.matrix import Matrix, Positions
from training.run.processes import Workers
from training.run.progress import progress, say


def later_margins(name: str, scorer: ScorerDeclaration, workers: Workers) -> tuple[Window, Positions | None, Matrix]:
    """The window used for calibration, the positions of the rows used (None: all), and the margins of these."""
    if scorer.split.has_calibration_window:
        window = Window(BUILD / name / "rows" / "calibrate.parquet", weight=scorer.split.weight)
        pipeline = joblib.load(BUILD / name / "pipeline.joblib")
        return window, None, matrix_margins(pipeline, pipeline[0].encoded(window, workers))
    window, catalogue = read_training(scorer, name)
    parameters, label = chosen_model(name), window.column(scorer.label)

    def margins_of(train: Positions, block: Positions) -> Matrix:
        encoder = FeatureEncoder(scorer.contract, catalogue).fit_window(window, workers, train)
        matrix = encoder.encoded(window, workers, train)
        pipeline = pipeline_of(encoder, *fit_model(scorer, parameters, matrix, label[train], workers))
        return matrix_margins(pipeline, encoder.encoded(window, workers, block))

    positions = declared_positions(window, scorer)
    blocks = progress(positions, "validation blocks", total=len(positions))
    return window, *out_of_time_margins(blocks, margins_of)


def main(name: str) -> None:
    """Calibrate one scorer: `python -m training.calibrate refund`."""
    scorer = chosen_scorer(name)
    with workers_of(scorer.compute) as workers:
        window, positions, margin = later_margins(name, scorer, workers)
    columns = [scorer.time, scorer.label, *([scorer.costs.amount] if scorer.costs else [])]
    values = {column: window.column(column)[slice(None) if positions is None else positions] for column in columns}
    label, money = values[scorer.label], declared_money(scorer, values.__getitem__)
    slope, intercept = fit_platt(margin, label)
    calibration = {"slope": slope, "intercept": intercept}
    probability = calibrated(margin, calibration)
    decision = decided(probability, label, scorer.decision, money)
    drawn_by = window.drawn_by(scorer.entity)
    groups = None if drawn_by is None else entity_groups(drawn_by[slice(None) if positions is None else positions])
    threshold, blocked_from = decision["threshold"], decision.get("block", {}).get("threshold")
    for key, policy, band in (
        ("decision", scorer.decision.flagging, threshold),
        ("decision.block", scorer.decision.block, blocked_from),
    ):
        if policy and policy.confidence and groups is not None:
            cases = label == 1 if policy.recall is not None else probability >= band
            what = f"{scorer.entity} values" if scorer.entity else "rows, which stand for several requests each"
            if warning := overstated_confidence(key, policy, what, cases, groups):
                say(warning)
    if money and (warning := beyond_capacity(money, probability, threshold, blocked_from)):
        say(warning)
    if blocked_from == threshold:
        say(
            "WARNING: both bands begin at the same threshold, so nothing is reviewed: with these costs it is cheapest "
            "to block every flagged request; check costs.review, costs.insult and costs.capacity"
        )
    fitted = {
        "calibration": calibration,
        "decision": decision,
        "operating_points": operating_points(probability, label, threshold, blocked_from),
        "score": score_distribution(probability, label, threshold, blocked_from)
        | ({"scale": score_scale(probability, label)} if scorer.decision.score else {}),
    }
    report = window_report(values[scorer.time], label)
    rows = pd.DataFrame({**values, "margin": margin})
    write_whole(BUILD / name / "calibration.parquet", lambda target: rows.to_parquet(target, index=False))
    write_json(REPORTS / name / "calibration.json", report)
    write_text(BUILD / name / "calibration.json", json.dumps(fitted, indent=1) + "\n")
    say(json.dumps({key: value for key, value in fitted.items() if key != "score"} | report, indent=1))


if __name__ == "__main__":
    run(main)
