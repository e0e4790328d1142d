"""JSON Web Tokens: those that a vendor makes with a shared secret (HS256), and our own, of a private key (RS256)."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_TOKEN = re.compile("[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+[.][A-Za-z0-9_-]+")


def read_token(token: str, secret: str) -> dict[str, Any] | None:
    """The claims of a token that this secret has signed; None for any other."""
    if not _TOKEN.fullmatch(token):
        return None
    signed, _, given = token.rpartition(".")
    head, _, claims = signed.partition(".")
    try:
        made = hmac.digest(secret.encode(), signed.encode(), "sha256")
        if not hmac.compare_digest(made, _decode(given)):
            return None
        header, content = msgspec.json.decode(_decode(head)), msgspec.json.decode(_decode(claims))
    except (ValueError, UnicodeDecodeError, RecursionError):
        return None
    is_whole = isinstance(header, dict) and isinstance(content, dict) and header.get("alg") == "HS256"
    return content if is_whole else None


def sign_token(key: RSAPrivateKey, claims: Mapping[str, Any]) -> str:
    """A token of these claims."""
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    signed = b".".join([_encode(msgspec.json.encode(part)) for part in parts])
    return b".".join([signed, _encode(key.sign(signed, PKCS1v15(), SHA256()))]).decode()


def load_key(pem: str) -> RSAPrivateKey:
    """A private key in PEM form. Raises ValueError."""
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        raise ValueError("no private key in PEM form") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("no RSA key")  # noqa: TRY004 - it is a text in the settings
    return key


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
