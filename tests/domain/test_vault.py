"""What the secret key is for."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.vault import Vault, WrongKey

KEY, OTHER = "0f" * 32, "1e" * 32


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_what_was_sealed_is_opened(secret: str, context: str) -> None:
    vault = Vault(KEY)
    assert vault.open(vault.seal(secret, context), context) == secret
    assert Vault(KEY).open(vault.seal(secret, context), context) == secret


def test_a_seal_shows_nothing_and_is_never_the_same() -> None:
    vault = Vault(KEY)
    sealed = {vault.seal("the token", "AC1") for _ in range(50)}
    assert len(sealed) == 50
    assert all(b"token" not in base64.b64decode(one) for one in sealed)


def test_another_key_another_context_or_a_changed_bit_does_not_open_it() -> None:
    vault = Vault(KEY)
    sealed = vault.seal("the token", "AC1")
    with pytest.raises(WrongKey):
        Vault(OTHER).open(sealed, "AC1")
    with pytest.raises(WrongKey):
        vault.open(sealed, "AC2")
    raw = base64.b64decode(sealed)
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(WrongKey):
            vault.open(base64.b64encode(changed).decode(), "AC1")


def test_a_digest_is_compared_under_its_own_key() -> None:
    vault = Vault(KEY)
    digest = vault.digest("the token")
    assert vault.digest("the token") == digest
    assert vault.matches("the token", digest)
    assert not vault.matches("the tokem", digest)
    assert not vault.matches("", digest)
    assert not vault.matches("the token", "")
    assert not Vault(OTHER).matches("the token", digest)


def test_a_person_is_found_again_under_the_same_key_only() -> None:
    name = Vault(KEY).pseudonym("+12125550100")
    assert Vault(KEY).pseudonym("+12125550100") == name
    assert len({name, Vault(KEY).pseudonym("+12125550101"), Vault(OTHER).pseudonym("+12125550100")}) == 3
    assert name not in Vault(KEY).digest("+12125550100")
    assert len(name) == 32


@given(st.text(st.characters(codec="utf-8")))
def test_a_word_stands_for_a_text_under_the_same_key_only(text: str) -> None:
    word = Vault(KEY).conceal("k", text)
    assert Vault(KEY).conceal("k", text) == word
    assert Vault(KEY).reveal("k", word) == text
    assert re.fullmatch("[A-Za-z0-9_-]+", word)
    with pytest.raises(WrongKey):
        Vault(OTHER).reveal("k", word)
    with pytest.raises(WrongKey):
        Vault(KEY).reveal("another kind", word)


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.data())
def test_a_word_that_was_changed_stands_for_nothing(text: str, data: st.DataObject) -> None:
    word = Vault(KEY).conceal("k", text)
    place = data.draw(st.integers(0, len(word) - 2))  # the last character has bits that do not count
    other = data.draw(st.characters(codec="ascii", min_codepoint=33).filter(lambda c: c != word[place]))
    for changed in (word[:place] + other + word[place + 1 :], word[:place], word + other, other):
        with pytest.raises(WrongKey):
            Vault(KEY).reveal("k", changed)


def test_no_two_words_begin_alike() -> None:
    assert len({Vault(KEY).conceal("k", f"https://example.com/{i}")[:12] for i in range(1000)}) == 1000


def test_a_key_is_named_without_being_told() -> None:
    assert Vault(KEY).key_id == Vault(KEY.upper()).key_id != Vault(OTHER).key_id
    assert Vault(KEY).key_id not in KEY
    assert len(Vault(KEY).key_id) == 16


@pytest.mark.parametrize("key", ["", "0f" * 31, "0f" * 33, "zz" * 32])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - two kinds of slip, each with its own words
        Vault(key)
