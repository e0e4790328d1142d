"""X-Plivo-Signature-V3: how Plivo signs what it sends to an address of ours.

HMAC-SHA256 under an auth token, in base64, over the address, the fields of its query, those of the body, and a nonce:

    https://masked.example.com/carriers/north/message?From12125550177MessageUUIDdb3ce55a-…TextHiTo14155550100.05429567
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from maskline.carriers.webhooks import KEPT

HEADER = "X-Plivo-Signature-V3"
# Made with the token of the account or subaccount that the number belongs to, and with that of the main account.
_HEADERS = (HEADER.lower(), "x-plivo-signature-ma-v3")
_NONCE = "x-plivo-signature-v3-nonce"


def sign(token: str, url: str, fields: Iterable[tuple[str, str]], nonce: str) -> str:
    """The signature of these fields, posted to `url`."""
    parts = urlsplit(url)
    query = "&".join(f"{name}={value}" for name, value in sorted(parse_qsl(parts.query, True)))
    posted = "".join(name + value for name, value in sorted(fields))
    signed = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    if query or posted:
        signed += f"?{query}"
    if query and posted:
        signed += "."
    signed += f"{posted}.{nonce}"
    return base64.b64encode(hmac.digest(token.encode(), signed.encode("utf-8", KEPT), "sha256")).decode()


def has_signed(token: str, url: str, fields: Iterable[tuple[str, str]], headers: Mapping[str, str]) -> bool:
    """Whether a request is signed with this token. While a token is changed, a header has two signatures."""
    nonce = headers.get(_NONCE, "")
    made = sign(token, url, fields, nonce).encode()
    given = [one.strip() for name in _HEADERS for one in headers.get(name, "").split(",")]
    # All are compared, so that the time taken tells nothing.
    matches = [hmac.compare_digest(made, one.encode("utf-8", "replace")) for one in given]
    return bool(nonce) and any(matches)


def is_given(headers: Mapping[str, str]) -> bool:
    """Whether a request has a signature at all."""
    return any(name in headers for name in _HEADERS)
