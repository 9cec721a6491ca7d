#!/usr/bin/env python3
"""A calendar for the booking example: `python examples/booking/server.py 8099`.

Only the standard library. What a flow posts, and what is expected back: docs/flows.md.
"""

import json
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FREE = {"Tuesday 3pm", "Thursday 10am", "Friday 1pm"}


def confirm(arguments: Mapping[str, str]) -> dict[str, object]:
    return {"confirmed": arguments["appointment"]}


def move(arguments: Mapping[str, str]) -> dict[str, object]:
    """Whether the slot is free; if it is not, which are."""
    time = arguments["time"].replace(" ", "").lower()
    slot = f"{arguments['day'].capitalize()} {time}"
    if slot in FREE:
        return {"free": True, "slot": slot}
    return {"free": False, "slot": slot, "others": ", ".join(sorted(FREE))}


ROUTES = {"/confirm": confirm, "/move": move}


class Calendar(BaseHTTPRequestHandler):
    """Each call has an id of its own, in `webhook-id`: one that comes twice is to be done once."""

    def do_POST(self) -> None:
        route = ROUTES.get(self.path)
        if route is None:
            self.send_error(404)
            return
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps(route(call["arguments"])).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print no lines: what people say is nobody's business."""


def serve(port: int) -> ThreadingHTTPServer:
    return ThreadingHTTPServer(("127.0.0.1", port), Calendar)


if __name__ == "__main__":
    serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8099).serve_forever()
