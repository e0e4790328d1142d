"""The server as an official client talks to it: forms with names in PascalCase, HTTP Basic, JSON back."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

PATIENCE_S = 10.0
POLL_S = 0.02


class StepFailed(Exception):
    """A step was not seen as it should be; the message says which."""


class Api:
    """The API and the sandbox's handsets, for one account."""

    def __init__(self, url: str, account_sid: str, token: str) -> None:
        self.account_sid = account_sid
        self._url = url
        self._address = urlsplit(url)
        self._auth = "Basic " + base64.b64encode(f"{account_sid}:{token}".encode()).decode()

    def request(self, method: str, path: str, form: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """The status and the decoded answer. Raises StepFailed where no server is, or something else answers."""
        kind = http.client.HTTPSConnection if self._address.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._address.hostname or "", self._address.port, timeout=PATIENCE_S)
        headers = {"Authorization": self._auth, "Accept": "application/json"}
        body = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(form)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None
        except OSError as error:  # before ValueError: a certificate that is not trusted is both
            raise StepFailed(f"no server can be reached at {self._url}: {error}") from None
        except (http.client.HTTPException, ValueError):
            raise StepFailed(f"what answers at {self._url} is no maskline server") from None
        finally:
            connection.close()

    def make(self, step: str, path: str, form: Mapping[str, str]) -> Any:
        """POST what must succeed. Raises StepFailed."""
        return self._must(step, *self.request("POST", path, form))

    def get(self, step: str, path: str, **query: str) -> Any:
        """GET what must be there. Raises StepFailed."""
        return self._must(step, *self.request("GET", f"{path}?{urlencode(query)}" if query else path))

    def _must(self, step: str, status: int, content: Any) -> Any:
        if status not in (200, 201):
            said = content.get("message") if isinstance(content, dict) else None
            raise StepFailed(f"{step}: the server answered {status}{f': {said}' if said else ''}")
        return content


def await_seen(step: str, seen: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Look until it is seen. Raises StepFailed."""
    deadline = time.monotonic() + patience_s
    while not seen():
        if time.monotonic() > deadline:
            raise StepFailed(f"{step} within {patience_s:g} seconds")
        time.sleep(POLL_S)
