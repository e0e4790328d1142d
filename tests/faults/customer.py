"""A customer's server beside a server that keeps dying: answers at once, and remembers what it was told.

`/verdict` lets everything pass, `/told` takes callbacks, `/stranger` asks for a Session with whomever `partners` has
for the sender.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl


class Customer:
    """`told`: what callbacks said of each Interaction, by token, so that a repeated one counts once."""

    def __init__(self) -> None:
        self.url = ""
        self.partners: dict[str, str] = {}
        self.asked: dict[str, int] = defaultdict(int)
        self.told: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
        self._lock = threading.Lock()

    def answer(self, path: str, form: dict[str, str], token: str) -> bytes:
        with self._lock:
            match path:
                case "/told":
                    self.told[form["interactionSid"]].setdefault(token, form)
                case "/stranger":
                    self.asked[form["MessageSid"]] += 1
                    return json.dumps({"participantIdentifier": self.partners[form["From"]]}).encode()
                case _:
                    self.asked[form["inboundResourceSid"]] += 1
            return b""


@contextmanager
def serving() -> Iterator[Customer]:
    """The customer's server while the block lasts."""
    customer = Customer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = dict(parse_qsl(body, keep_blank_values=True))
            answer = customer.answer(self.path, form, self.headers["I-Twilio-Idempotency-Token"])
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """It has nothing to say."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """The other side has died, as it should."""

    with Server(("127.0.0.1", 0), Handler) as server:
        customer.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield customer
        finally:
            server.shutdown()
            thread.join()
