"""The application that serves every bundle, and `handler`, which AWS Lambda calls."""

import asyncio
import gc
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from handler.records.logs import hide_exception_texts
from handler.records.record import Recorder
from handler.records.telemetry import StoreMeter, record_cold_start, record_failure, record_unread
from handler.releases.served import Slot
from handler.releases.store import open_store
from handler.releases.swap import Watcher
from handler.scoring.scorer import load_scorers
from handler.settings import KEYS, SETTINGS
from handler.web.gateway import EVENT_HANDLERS, BadEventError, checked_event, detail_answer, is_warm_up, post_event
from handler.web.routes import create_app
from handler.web.startup import Mangum

if TYPE_CHECKING:
    from handler.history.store import PastStore

SUCCESS = 200
SERVER_ERROR = 500
# Seconds that a start waits for the store before it serves the packaged bundles; Lambda limits a start to 10 seconds.
START_SECONDS = 2.0
_BUDGET_SECONDS = SETTINGS.store_budget_ms / 1000

logger = logging.getLogger(__name__)


def _started_watcher() -> Watcher | None:
    """The watcher of the configured store, after its first look; None if no store is configured.

    If the store answers in time, the versions that its pointers name serve from the first request on.
    """
    if not SETTINGS.store:
        return None
    watcher = Watcher(
        open_store(SETTINGS.store),
        _slots,
        seconds=SETTINGS.store_seconds,
        public_keys=SETTINGS.store_public_key,
        meter=StoreMeter() if SETTINGS.metrics else None,
        lists_key=_keys["predictions_key"],
    )
    watcher.look_if_due(START_SECONDS)
    # The versions in a snapshot may be weeks old.
    _after_restore(watcher.look_if_due, START_SECONDS, is_patient=True)
    return watcher


def _started_recorder() -> Recorder | None:
    """The recorder of predictions and outcomes; None without PREDICTIONS."""
    if not SETTINGS.predictions:
        return None
    for name, slot in _slots.items():
        if slot.served.scorer.hashed_features and not _keys["predictions_key"]:
            raise ValueError(f"PREDICTIONS_KEY is empty, but {name} declares fields with private: hash; set a key")
        if slot.served.scorer.control and not _keys["predictions_key"]:
            logger.warning(
                "%s declares a control group, but PREDICTIONS_KEY is empty, so no request is let through; set a key",
                name,
            )
    return Recorder(SETTINGS.predictions, rate=SETTINGS.predictions_rate, key=_keys["predictions_key"])


def _started_history() -> "PastStore | None":
    """The configured history; None without HISTORY.

    Raises ValueError if it is a file and this is Lambda, where each environment would keep its own past.
    """
    if not SETTINGS.history:
        return None
    table = SETTINGS.history_table
    if table is None and os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        raise ValueError(
            f"HISTORY is {SETTINGS.history!r}, a file, but in Lambda each environment would keep a past of its own; "
            "set it to a table, such as dynamodb://fraud-history, or leave it empty"
        )
    if table is None:
        from handler.history.sqlite import SqliteHistory  # noqa: PLC0415 - only a history in a file needs it

        return SqliteHistory(SETTINGS.history, SETTINGS.history_budget_ms)
    from handler.history.dynamodb import DynamoHistory  # noqa: PLC0415 - only a history in a table needs it

    history = DynamoHistory(table, SETTINGS.history_budget_ms, _keys["history_key"])
    history.connect()
    # The connections in a snapshot are broken, and its credentials have expired.
    _after_restore(history.connect)
    return history


def _after_restore(action: Callable[..., Any], *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - the action's own
    """Have Lambda call an action whenever an environment starts from a snapshot."""
    # Only Lambda's runtime has this module.
    with suppress(ModuleNotFoundError):
        from snapshot_restore_py import register_after_restore  # noqa: PLC0415 - see above

        register_after_restore(action, *arguments, **options)


def _read_keys_again() -> None:
    """Read the keys again, because a snapshot may be weeks old; if one cannot be read, all stay as they were."""
    try:
        _keys.update({name: SETTINGS.key(name) for name in KEYS})
    except ValueError:
        logger.exception("the keys could not be read again; the keys of the snapshot stay in use")
        return
    if _recorder:
        _recorder.use_key(_keys["predictions_key"])
    if _watcher:
        _watcher.use_key(_keys["predictions_key"])
    if _history and SETTINGS.history_table:
        _history.use_key(_keys["history_key"])  # type: ignore[attr-defined]  # a table's history has it


hide_exception_texts()
_keys = {name: SETTINGS.key(name) for name in KEYS}
if any(getattr(SETTINGS, f"{name}_arn") for name in KEYS):
    # Registered before the history's `connect`, which checks the key against the table's.
    _after_restore(_read_keys_again)
_slots = {name: Slot(scorer) for name, scorer in load_scorers(SETTINGS.bundles).items()}
_watcher = _started_watcher()
_recorder, _history = _started_recorder(), _started_history()
app = create_app(_slots, with_metrics=bool(SETTINGS.metrics), recorder=_recorder, watcher=_watcher, history=_history)
_loop = asyncio.new_event_loop()
asyncio.set_event_loop(_loop)
_adapter = Mangum(app, lifespan="off", custom_handlers=EVENT_HANDLERS)
# Still True in a snapshot, so that each environment restored from it counts its own cold start.
_is_cold = True


def handler(event: Any, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda passes whatever the caller sent
    """The answer to one Lambda event: 400 if it is neither a warm-up nor a well-formed HTTP request.

    Raises UnreadRecordsError for records of a queue, topic, stream or bucket, which would be lost if it answered.
    """
    global _is_cold  # noqa: PLW0603 - the state of Lambda's environment
    if _is_cold and context:
        _is_cold = False
        if SETTINGS.metrics:
            record_cold_start(context)
    if is_warm_up(event):
        if _watcher:
            # No caller waits for this answer.
            _watcher.look_if_due(START_SECONDS, is_patient=True)
        return detail_answer(200, "warm")
    if _watcher:
        _watcher.look_if_due(_BUDGET_SECONDS)
    # Mangum uses the thread's current event loop, which any `asyncio.run` in this process unsets.
    asyncio.set_event_loop(_loop)
    try:
        answer: dict[str, Any] = _adapter(checked_event(event), context)
        if answer["statusCode"] >= SERVER_ERROR and SETTINGS.metrics and context:
            record_failure(context)
    except BadEventError as error:
        return detail_answer(400, str(error))
    except Exception as error:  # noqa: BLE001 - the process edge: the application's own errors were answered with 500 inside the adapter
        return _unread_answer(event, context, error)
    return answer


def _unread_answer(event: Any, context: Any, error: Exception) -> dict[str, Any]:  # noqa: ANN401 - as `handler`
    """The 400 for an event that cannot be read; raises UnreadRecordsError as `handler` does.

    The event is logged and counted, because Lambda counts a 400 as a success, and most such events have no caller to
    see the answer.
    """
    from handler.web.unread import UnreadRecordsError, unread_problem  # noqa: PLC0415 - only such events need it

    problem = unread_problem(event, error)
    logger.warning("%s", problem)
    if SETTINGS.metrics and context:
        record_unread(context)
    if isinstance(problem, UnreadRecordsError):
        raise problem from None
    return detail_answer(400, str(problem))


def _warm_up() -> None:
    """Answer one request per scorer, so that the first caller and each copy of a SnapStart snapshot start warm.

    What can go stale in a snapshot (the store's versions, the keys, the history's connections) is renewed after a
    restore. Raises RuntimeError if a request fails, so that such a version never takes traffic. A server that imports
    the application inside its own event loop cannot be warmed up through the Lambda handler, and need not be.
    """
    for scorer in [slot.served.scorer for slot in _slots.values()]:
        for case in scorer.bundle.golden[:1]:
            event = post_event(scorer.contract.route, "explain=true", json.dumps(case["request"]))
            if (status := handler(event, None)["statusCode"]) != SUCCESS:
                raise RuntimeError(
                    f"{scorer.contract.route} answers its own golden request with status {status}, not {SUCCESS}"
                )
    # Everything loaded so far stays in use; the garbage collector need not scan it again.
    gc.freeze()


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


if not _is_in_event_loop():
    _warm_up()
