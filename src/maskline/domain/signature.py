"""X-Twilio-Signature: signing our callbacks, and checking requests that Twilio or a customer has signed.

HMAC-SHA1 under the account's auth token, over the URL and then every parameter's name and value, sorted. Twilio may
also sign with a shared key and another algorithm, which a second header names. What came in bytes that are no UTF-8 is
signed as it came (`surrogateescape`).
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from maskline.domain.webhook_url import as_sent

HEADER = "X-Twilio-Signature"
SETTINGS_HEADER = "X-Twilio-Webhooks-Signature-Settings"

ALGORITHMS = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}

Parameters = Iterable[tuple[str, str]]

_as_sent = lru_cache(maxsize=1024)(as_sent)

# Scheme, userinfo, host, port, the rest. Not urlsplit: every other character must stay as it was signed.
_URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*@)?(\[[^/?#\]]*\]|[^/?#:@]*)(:[0-9]*)?(.*)", re.DOTALL
)


def sign(auth_token: str, url: str, form: Mapping[str, str]) -> str:
    """The signature of a request to `url`; a port is signed as it is written. Raises ValueError if it is no URL."""
    # Names alone are sorted in a fraction of the time that pairs take.
    return _sign(auth_token, _as_sent(url) + "".join([name + form[name] for name in sorted(form)]))


def read_settings(header: str) -> tuple[str, str | None]:
    """The key that a request says it is signed with (empty: the auth token), and the algorithm; None: one not known."""
    said: dict[str, str] = {}
    for name, _, value in (part.partition("=") for part in header.split(",")):
        if value.strip():
            said.setdefault(name.strip(), value.strip())
    return said.get("key", ""), ALGORITHMS.get(said.get("algorithm", "HMAC_SHA1").upper())


def check(auth_token: str, url: str, parameters: Parameters, signature: str, algorithm: str = "sha1") -> bool:
    """Whether `signature` is this request's. `url` is the one that was asked for.

    Signers differ in whether they write a port, so it may be signed without one, and with the standard one if it
    has none.
    """
    # Values that stand there twice under one name count once.
    signed = "".join([name + value for name, value in sorted(set(parameters))])
    spellings = _spellings(url.partition("#")[0])
    made = [_sign(auth_token, spelling + signed, algorithm) for spelling in spellings]
    # All are compared, so that the time taken tells nothing.
    matches = [_equal(each, signature) for each in made]
    return any(matches)


def check_whole(key: str, url: str, body: bytes, signature: str) -> bool:
    """Whether `signature` is the hexadecimal HMAC-SHA1 of the URL and the body as it came, as SignalWire makes it."""
    spellings = _spellings(url.partition("#")[0])
    made = [hmac.digest(key.encode(), spelling.encode() + body, "sha1").hex() for spelling in spellings]
    matches = [_equal(each, signature) for each in made]
    return any(matches)


def _sign(auth_token: str, signed: str, algorithm: str = "sha1") -> str:
    digest = _keyed(auth_token, algorithm).copy()
    digest.update(signed.encode("utf-8", "surrogateescape"))
    return base64.b64encode(digest.digest()).decode()


@lru_cache(maxsize=1024)
def _keyed(key: str, algorithm: str) -> hmac.HMAC:
    """To be copied: setting a key up takes several times as long as signing with it."""
    return hmac.new(key.encode(), digestmod=algorithm)


def _spellings(url: str) -> list[str]:
    """`url` as it is, and with and without its port."""
    if (match := _URL.fullmatch(url)) is None:
        return [url]
    scheme, userinfo, host, port, rest = (part or "" for part in match.groups())
    standard = ":443" if scheme.lower() == "https://" else ":80"
    return [url, f"{scheme}{userinfo}{host}{rest}", f"{scheme}{userinfo}{host}{port or standard}{rest}"]


def _equal(made: str, given: str) -> bool:
    return hmac.compare_digest(made.encode(), given.encode("utf-8", "replace"))
