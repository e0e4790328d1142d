"""What the secret key is for: digests to compare secrets with, a seal for secrets that must be used again, and
pseudonyms.

Each purpose has a key of its own, derived from the one in the settings, so that none can stand in for another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_WORD = re.compile("[A-Za-z0-9_-]+")


class WrongKey(Exception):
    """What is stored was made under another secret key."""


class Vault:
    """`secret_key`: 64 hexadecimal digits. `key_id` names the key without telling it."""

    def __init__(self, secret_key: str) -> None:
        if len(secret_key) != 64:
            raise ValueError("the secret key must be 64 hexadecimal digits")
        master = bytes.fromhex(secret_key)
        self.key_id = self._derive(master, b"key id").hex()[:16]
        self._digest_key = self._derive(master, b"digest")
        self._seal = AESGCM(self._derive(master, b"seal"))
        self._person = hmac.new(self._derive(master, b"person"), digestmod=hashlib.sha256)
        self._word_key = self._derive(master, b"word")
        self._words = AESGCM(self._derive(master, b"words"))

    @staticmethod
    def _derive(master: bytes, purpose: bytes) -> bytes:
        return hmac.digest(master, b"maskline " + purpose, "sha256")

    def digest(self, secret: str) -> str:
        """A keyed digest. Our secrets are random and long, so a fast one is as good as a slow one."""
        return hmac.new(self._digest_key, secret.encode(), hashlib.sha256).hexdigest()

    def pseudonym(self, identifier_key: str) -> str:
        """A name for a person by which they are found again, though who they are is not kept. Without the key it does
        not tell, however few phone numbers there are to try.
        """
        digest = self._person.copy()  # half the time of a new one, for each message to be sent
        digest.update(identifier_key.encode())
        return digest.hexdigest()[:32]

    def matches(self, secret: str, digest: str) -> bool:
        """Whether `digest` is this secret's, in constant time."""
        return hmac.compare_digest(self.digest(secret), digest)

    def seal(self, secret: str, context: str) -> str:
        """Encrypt (AES-256-GCM). `context`, such as an account's SID, must be given again to open it."""
        nonce = os.urandom(12)
        return base64.b64encode(nonce + self._seal.encrypt(nonce, secret.encode(), context.encode())).decode()

    def open(self, sealed: str, context: str) -> str:
        """Decrypt. Raises WrongKey."""
        raw = base64.b64decode(sealed)
        try:
            return self._seal.decrypt(raw[:12], raw[12:], context.encode()).decode()
        except InvalidTag:
            raise WrongKey("it was sealed under another secret key") from None

    def conceal(self, kind: str, text: str) -> str:
        """A word for a URL that stands for `text` and does not tell it: the same one each time, and of use only as what
        it is.
        """
        raw, bound = text.encode(), kind.encode()
        # Of the text itself, so that no two texts ever have one nonce.
        nonce = hmac.digest(self._word_key, bound + b"\0" + raw, "sha256")[:12]
        return base64.urlsafe_b64encode(nonce + self._words.encrypt(nonce, raw, bound)).decode().rstrip("=")

    def reveal(self, kind: str, word: str) -> str:
        """What a word of this kind stands for. Raises WrongKey for one that `conceal` did not make."""
        try:
            if not _WORD.fullmatch(word):  # base64 passes over what is none of its own
                raise ValueError
            raw = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
            return self._words.decrypt(raw[:12], raw[12:], kind.encode()).decode()
        except (InvalidTag, ValueError):
            raise WrongKey("it was not made under this secret key") from None
