"""One service's application under uvicorn, with one worker, on a socket that listens already.

`python server.py PLAN`, where PLAN is JSON: paths (put before sys.path), module, uvicorn (its folder), socket (its
file descriptor). uvicorn comes last, so that it changes nothing of what the service finds.
"""

import json
import socket
import sys
from importlib import import_module
from typing import Any


def main(plan: dict[str, Any]) -> None:
    """Serve until the process is terminated."""
    sys.path[:0] = plan["paths"]
    app = import_module(plan["module"]).app
    sys.path.append(plan["uvicorn"])
    uvicorn = import_module("uvicorn")
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=plan["socket"])])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
