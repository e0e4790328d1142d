"""Calling the API from a page in a browser: the three header lines that allow it, on every answer, written once.

They let a page send credentials that it has been given itself; none of its visitor's is ever used here.
"""

from __future__ import annotations

OFF = ("", "off")

METHODS = "GET, POST, DELETE, OPTIONS"
HEADERS = "Authorization, Content-Type, Idempotency-Key"


def cors_lines(origin: str) -> bytes:
    """What allows pages of this origin (`*`: of any) to call the API; nothing where that is off."""
    if origin in OFF:
        return b""
    lines = {"Origin": origin, "Methods": METHODS, "Headers": HEADERS}
    return "".join(f"Access-Control-Allow-{name}: {value}\r\n" for name, value in lines.items()).encode(
        "ascii"
    )
