"""Send events to `sam local invoke`, then to `sam local start-api`, and print the answers: TEMPLATE EVENT...

It is a separate script because a wrapper that provides a Docker engine may run it in other namespaces than the test.
"""

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ADDRESS = ("127.0.0.1", 3000)
ARGUMENTS = shlex.split(os.environ.get("SAM_LOCAL_ARGS", ""))


def sam_local(*arguments: str) -> list[str]:
    """The command line of a `sam local` command."""
    return [os.environ["SAM"], "local", *arguments, *ARGUMENTS]


def invoked(template: str, event: Path) -> Any:  # noqa: ANN401 - whatever the function answers
    """The answer that `sam local invoke` prints; its status is 0 even where the function failed."""
    command = sam_local("invoke", "FraudFunction", "--template", template, "--event", str(event))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def answered(event: dict[str, Any]) -> dict[str, Any]:
    """The answer to the event's request over HTTP."""
    connection = http.client.HTTPConnection(*ADDRESS, timeout=60)
    path = "?".join(filter(None, (event["rawPath"], event["rawQueryString"])))
    headers = {"content-type": "application/json"}
    connection.request(event["requestContext"]["http"]["method"], path, event.get("body"), headers)
    response = connection.getresponse()
    return {"statusCode": response.status, "body": response.read().decode()}


def wait_until_listening(process: subprocess.Popen[bytes], address: tuple[str, int], seconds: float) -> None:
    """Returns as soon as the process takes connections at the address; raises TimeoutError if it does not."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing listens at {address}; the exit status is {process.poll()}")


def main() -> None:
    """Print one JSON object: the answers by event, and start-api's exit status after SIGTERM."""
    template, *paths = sys.argv[1:]
    events = [Path(path) for path in paths]
    answers: dict[str, Any] = {"invoke": {path.stem: invoked(template, path) for path in events}}
    host, port = ADDRESS
    command = sam_local(
        "start-api", "--template", template, "--host", host, "--port", str(port), "--warm-containers", "LAZY"
    )
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        try:
            wait_until_listening(process, ADDRESS, 60)
            answers["start-api"] = {path.stem: answered(json.loads(path.read_bytes())) for path in events}
        finally:
            process.send_signal(signal.SIGTERM)
            answers["exit"] = process.wait(timeout=60)
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
