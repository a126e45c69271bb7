"""A table of DynamoDB in memory, as far as histories use one: a server of its own process, which answers at once.

A test compares its answers with moto's. It has no transactions, which outcomes need. Its operation `Silence` makes it
keep all answers back for some seconds.
"""

import asyncio
import gc
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

Item = dict[str, Any]
_APPENDED, _DEFAULT = r"list_append\(if_not_exists\(\w+, (:\w+)\), (:\w+)\)", r"if_not_exists\(\w+, (:\w+)\)"
_ASSIGNMENT = re.compile(rf"(\w+) = ({_APPENDED}|{_DEFAULT}|(:\w+))")
_REMOVED = re.compile(r"l\[(\d+)\]")


class StandIn:
    """The items, by key, and what calls do to them, one after the other."""

    def __init__(self) -> None:
        """Begin without any item."""
        self.items: dict[str, Item] = {}
        self.silent_until = 0.0

    def answer(self, operation: str, content: Mapping[str, Any]) -> tuple[int, Item]:
        """The status and the answer of a call."""
        if operation == "Silence":
            self.silent_until = time.monotonic() + content["seconds"]
            return 200, {}
        key = (content["Item"] if operation == "PutItem" else content["Key"])["k"]["B"]
        before = self.items.get(key)
        if operation == "GetItem":
            return 200, {} if before is None else {"Item": before}
        if not _holds(
            content.get("ConditionExpression", ""), before or {}, content.get("ExpressionAttributeValues", {})
        ):
            problem = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no"}
            return 400, problem | ({"Item": before} if "ReturnValuesOnConditionCheckFailure" in content else {})
        if operation == "PutItem":
            self.items[key] = content["Item"]
            return 200, {}
        after = _updated({"k": {"B": key}} | (before or {}), content)
        self.items[key] = after
        kind = content.get("ReturnValues")
        return 200, {"Attributes": after} if kind == "ALL_NEW" else {"Attributes": before} if before and kind else {}


def _holds(condition: str, item: Item, values: Mapping[str, Any]) -> bool:
    """Whether a condition holds; all of its parts must."""
    for part in condition.split(" AND ") if condition else ():
        if part.startswith("attribute_not_exists"):
            holds = part[len("attribute_not_exists(") : -1] not in item
        elif part.startswith("size"):
            holds = "l" in item and len(item["l"]["L"]) >= int(values[":c"]["N"])
        else:
            name, _, value = part.partition(" = ")
            holds = item.get(name) == values[value]
        if not holds:
            return False
    return True


def _updated(item: Item, content: Mapping[str, Any]) -> Item:
    """An item after an update, as a new one: the former may still be sent."""
    values, (setting, _, removing) = (
        content["ExpressionAttributeValues"],
        content["UpdateExpression"].partition("REMOVE"),
    )
    after = dict(item)
    for name, _, empty, added, default, value in _ASSIGNMENT.findall(setting):
        if added:
            after[name] = {"L": item.get(name, values[empty])["L"] + values[added]["L"]}
        else:
            after[name] = item.get(name, values[default]) if default else values[value]
    if removed := set(map(int, _REMOVED.findall(removing))):
        after["l"] = {"L": [event for place, event in enumerate(after["l"]["L"]) if place not in removed]}
    return after


async def _serve(connection: Connection) -> None:
    table = StandIn()

    async def answer_calls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].split("\r\n")[0])
                operation = head.partition("x-amz-target:")[2].split("\r\n")[0].rpartition(".")[2]
                names = {name.lower(): name for name in ("GetItem", "PutItem", "UpdateItem", "Silence")}
                body = json.loads(await reader.readexactly(length))
                if (seconds := table.silent_until - time.monotonic()) > 0:
                    # What was asked meanwhile is done, and nobody hears of it.
                    await asyncio.sleep(seconds)
                if operation not in names:
                    raise SystemExit(f"the stand-in knows no {operation}")
                status, content = table.answer(names[operation], body)
                text = json.dumps(content).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(text)) + text)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer_calls, "127.0.0.1", 0, backlog=512, limit=1 << 22)
    connection.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(connection: Connection) -> None:
    # With a million items a collection takes longer than a request waits.
    gc.disable()
    asyncio.run(_serve(connection))


@contextmanager
def table_stand_in() -> Iterator[dict[str, str]]:
    """The environment in which a client finds such a table, as long as a block lasts."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs,), daemon=True)
    process.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ours.recv()}",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "stands in",
            "AWS_SECRET_ACCESS_KEY": "for nobody",
        }
    finally:
        process.kill()
        process.join()
