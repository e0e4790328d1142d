"""What Vonage has signed: a token of the account's signature secret, with a hash of the body, in Authorization."""

from __future__ import annotations

import hashlib
import hmac

from maskline.carriers.jwt import read_token
from maskline.carriers.webhooks import WebRequest, text_at

EARLY_S, LATE_S = 300, 25 * 3600
"""How far a signature's date may be from now. Vonage brings again for 24 hours what was not taken; what is brought
twice is known for 7 days.
"""


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


def _is_of_now(made_at: float, now_s: float) -> bool:
    return -EARLY_S <= now_s - made_at <= LATE_S
