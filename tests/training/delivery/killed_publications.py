"""Kill publications: each line of standard input is {address, folder, steps, seconds}; prints how each one ended.

For each line, a child process publishes the bundle in the folder and moves the pointer to it. A step is a call that
touches files or the network; the child is killed that many seconds after it has reached the step of that number. This
is a script of its own because a process with threads, such as pytest's, must not fork, and because a child that imports
everything anew would take seconds.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import boto3

from training.delivery.pointer import update_pointer
from training.delivery.publish import publish
from training.delivery.store_writer import open_store_writer

STEPS = ("open", "os.", "shutil.", "fcntl.", "http.client.send")
# A child that hangs ends after this time, with another exit status than a killed one.
PATIENCE_SECONDS = 60


def publish_and_move(address: str, folder: Path, steps: int) -> None:
    """Publish a bundle and make it the current one, writing a byte into a pipe at each step."""
    signal.alarm(PATIENCE_SECONDS)

    def tell(event: str, _: object) -> None:
        """Write a byte into the pipe before each step."""
        if event.startswith(STEPS):
            os.write(steps, b".")

    sys.addaudithook(tell)
    store = open_store_writer(address)
    version = publish(store, folder)
    update_pointer(store, "mini", "promote", lambda now: {"current": version, "previous": now and now.current})


def killed(address: str, folder: str, steps: int, seconds: float) -> dict[str, int]:
    """How a child ended: the number of steps that it was seen to reach, and its exit status, negative for a signal."""
    seen, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(seen)
        publish_and_move(address, Path(folder), write)
        os._exit(0)
    os.close(write)
    begun = 0
    while begun < steps and os.read(seen, 1):
        begun += 1
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(seen)
    return {"steps": begun, "status": os.waitstatus_to_exitcode(status)}


def main() -> None:
    """Kill one child for each line."""
    if "AWS_ENDPOINT_URL" in os.environ:
        # Files that a client reads before its first request are read here once, so they are not among a child's steps.
        boto3.client("s3")
    for line in sys.stdin:
        sys.stdout.write(json.dumps(killed(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
