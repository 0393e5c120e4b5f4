"""`python -m chaperone_async.attendant FD`: answer the supervisor's calls, one JSON object a line, until it hangs up.

    {"id": 1, "module": "chaperone_async.attendant.rq", "settings": {…}, "call": "backlog", "with": {"queues": ["a"]}}
    {"id": 1, "value": {…}}        or: {"id": 1, "error": "cannot reach …", "unavailable": true}

Each call has a thread of its own: one that hangs holds up no other.
"""

import json
import os
import socket
import sys
import threading
import traceback

from chaperone_async.attendant import Refused, Unavailable
from chaperone_async.attendant.opening import Openings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AT_ONCE = 256
"""Calls. Those to a server that does not answer must leave room for the others."""
_LONGEST_ERROR = 2000


class Server:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._free = threading.Semaphore(AT_ONCE)
        self._openings = Openings()

    def run(self) -> None:
        with self._connection.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                call = json.loads(line)
                self._free.acquire()
                threading.Thread(target=self._serve, args=(call,), daemon=True).start()

    def _serve(self, call: "dict[str, Any]") -> None:
        try:
            answer = {"id": call["id"], **self._answer(call)}
        finally:
            self._free.release()
        with self._sending:
            self._connection.sendall(json.dumps(answer, default=str).encode() + b"\n")

    def _answer(self, call: "dict[str, Any]") -> "dict[str, Any]":
        try:
            attendant = self._openings.get(call["module"], call["settings"])
            return {"value": getattr(attendant, call["call"])(**call["with"])}
        except Unavailable as error:
            return {"error": _one_line(error), "unavailable": True}
        except Refused as error:
            return {"error": _one_line(error), "unavailable": False}
        except BaseException as error:  # noqa: BLE001  the application's modules may raise anything: the caller is told
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {_one_line(error)}", "unavailable": False}


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:_LONGEST_ERROR]
    return text.encode(errors="replace").decode()  # half a character would be no JSON for others


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    try:
        Server(connection).run()
    except OSError:
        pass  # the supervisor has gone while it was written to
    finally:
        sys.stderr.flush()
        os._exit(0)  # whatever still hangs


if __name__ == "__main__":
    main()
