"""What Vonage has signed. Messages and Voice put a token into Authorization, the SMS API a hash into the fields:

    sig = HMAC(secret, "&msisdn=12125550177&text=a_b&timestamp=1800000000&to=14155550100")

over all the others in the order of their names, each `&` and `=` in a value as `_`; in the oldest way it is the MD5 of
that text with the secret behind it. Which way it is, the account's settings at Vonage say.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from maskline.carriers.jwt import read_token
from maskline.carriers.webhooks import KEPT, WebRequest, text_at

EARLY_S, LATE_S = 300, 25 * 3600
"""How far a signature's date may be from now. Vonage brings again for 24 hours what was not taken; what is brought
twice is known for 7 days.
"""
MD5_HASH = "md5hash"


def wrong_token(request: WebRequest, secret: str, now_s: float) -> str | None:
    """What is wrong with a request's token; None: nothing."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return "the token is missing"
    claims = read_token(token.strip(), secret)
    if claims is None:
        return "the token's signature does not fit"
    made = hashlib.sha256(request.body).hexdigest()
    if not hmac.compare_digest(made.encode(), text_at(claims, "payload_hash").lower().encode()):
        return "the token's payload_hash does not fit"
    made_at = claims.get("iat")
    if not isinstance(made_at, int | float):
        return "the token has no date"
    if not _is_of_now(made_at, now_s):
        return "the token is too old, or of another time"
    return None


def wrong_sig(fields: Mapping[str, str], secret: str, method: str, now_s: float) -> str | None:
    """What is wrong with the hash in these fields; None: nothing. `method`: MD5_HASH, or a hash for HMAC."""
    given = fields.get("sig", "")
    if not given:
        return "sig is missing"
    if any("&" in name or "=" in name for name in fields):
        return "the name of a field holds others"  # which are signed as if they were there, and not seen
    made = sign_fields(fields, secret, method)
    if not hmac.compare_digest(made.encode(), given.lower().encode("utf-8", "replace")):
        return f"sig does not fit (signature_method is {method})"
    made_at = fields.get("timestamp", "")
    if not made_at.isdecimal() or len(made_at) > 12:
        return "the timestamp is missing"
    if not _is_of_now(int(made_at), now_s):
        return "the timestamp is too old, or of another time"
    return None


def sign_fields(fields: Mapping[str, str], secret: str, method: str) -> str:
    """The hash of all these fields but `sig`, in lower case."""
    signed = "".join(
        f"&{name}={fields[name].replace('&', '_').replace('=', '_')}"
        for name in sorted(fields)
        if name != "sig"
    ).encode("utf-8", KEPT)
    if method == MD5_HASH:
        return hashlib.md5(signed + secret.encode(), usedforsecurity=False).hexdigest()
    return hmac.new(secret.encode(), signed, method).hexdigest()


def _is_of_now(made_at: float, now_s: float) -> bool:
    return -EARLY_S <= now_s - made_at <= LATE_S
