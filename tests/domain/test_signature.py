"""X-Twilio-Signature, compared with the validator in Twilio's own client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator, get_signature_algorithm

from maskline.domain.signature import ALGORITHMS, check, read_settings, sign
from maskline.domain.webhook_url import as_sent

TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = {
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
    "Caller": "+14158675309",
}

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
FORMS = st.dictionaries(TEXT, TEXT, max_size=8)
TOKENS = st.text("0123456789abcdef", min_size=1, max_size=32)
HOSTS = st.sampled_from(["example.com", "a.b.example", "127.0.0.1", "Example.COM", "x"])
PORTS = st.sampled_from(["", ":443", ":80", ":8443", ":1"])
# What follows a host, as Python's own parser writes it back, which the validator uses: it loses an empty `;`.
RESTS = st.from_regex(
    r"(/[A-Za-z0-9%~'!$&()*+,=:@._-]{0,9}){0,3}(\?[A-Za-z0-9%&=+/?:@']{1,20})?", fullmatch=True
)
URLS = st.builds("{}://{}{}{}".format, st.sampled_from(["http", "https"]), HOSTS, PORTS, RESTS)


class Repeated(dict[str, list[str]]):
    """A form with names given twice, as frameworks hand it over."""

    getlist = dict.__getitem__


def test_the_example_that_everybody_has() -> None:
    assert sign(TOKEN, URL, FORM) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


@given(TOKENS, URLS, FORMS)
def test_what_we_sign_twilios_validator_accepts(token: str, url: str, form: dict[str, str]) -> None:
    assert RequestValidator(token).validate(as_sent(url), form, sign(token, url, form))


@given(TOKENS, URLS, FORMS, TEXT)
def test_a_fragment_is_not_signed(token: str, url: str, form: dict[str, str], fragment: str) -> None:
    assert sign(token, f"{url}#{fragment}", form) == sign(token, url, form)


@given(TOKENS, URLS, URLS, FORMS, st.booleans())
def test_we_accept_what_twilios_validator_accepts(
    token: str, signed_url: str, asked_url: str, form: dict[str, str], same: bool
) -> None:
    """The URL that was signed may be the one that was asked for, but for its port, or another one."""
    if same:
        host_and_port = asked_url.split("/")[2].split("?", maxsplit=1)[0]
        signed_url = asked_url.replace(host_and_port, host_and_port.partition(":")[0], 1)
    signature = RequestValidator(token).compute_signature(signed_url, form)
    accepted = check(token, asked_url, form.items(), signature)
    assert accepted == RequestValidator(token).validate(asked_url, form, signature)
    assert accepted or not same


@pytest.mark.parametrize(
    ("signed", "asked", "accepted"),
    [
        ("https://h/p", "https://h/p", True),
        ("https://h:443/p", "https://h/p", True),
        ("https://h/p", "https://h:443/p", True),
        ("http://h:80/p", "http://h/p", True),
        ("http://h/p", "http://h:8080/p", True),
        ("http://h:8080/p", "http://h:8080/p", True),
        ("https://h:80/p", "https://h/p", False),
        ("http://h:443/p", "http://h/p", False),
        ("http://h:8080/p", "http://h/p", False),
        ("http://h:8080/p", "http://h:9090/p", False),
        ("https://u:p@h:443/p", "https://u:p@h/p", True),
        ("https://u:p@h/p", "https://u:p@h:443/p", True),
        ("https://u:p@h/p", "https://h/p", False),
        ("https://[::1]:443/p", "https://[::1]/p", True),
        ("https://[::1]/p", "https://[::1]:443/p", True),
        ("https://h/p?x=http://k:80/", "https://h:443/p?x=http://k:80/", True),
        ("https://h?p", "https://h:443?p", True),
        ("https://h/p", "http://h/p", False),
        ("https://h/p", "https://h/p/", False),
        ("https://h/p?a", "https://h/p", False),
        ("https://h/p", "https://h/p#x", True),
        ("no url", "no url", True),
    ],
)
def test_signers_may_leave_the_port_away_or_write_the_standard_one(
    signed: str, asked: str, accepted: bool
) -> None:
    signature = RequestValidator(TOKEN).compute_signature(signed, FORM)
    assert check(TOKEN, asked, FORM.items(), signature) is accepted


@given(st.dictionaries(TEXT, st.lists(TEXT, min_size=1, max_size=4), max_size=5))
def test_values_of_a_repeated_name_count_once_and_sorted(form: dict[str, list[str]]) -> None:
    pairs = [(name, value) for name, values in form.items() for value in values]
    signature = RequestValidator(TOKEN).compute_signature(URL, Repeated(form))
    assert check(TOKEN, URL, pairs, signature)
    assert check(TOKEN, URL, reversed(pairs), signature)


@given(FORMS, TEXT, TEXT)
def test_what_was_tampered_with_is_refused(form: dict[str, str], name: str, value: str) -> None:
    signature = sign(TOKEN, URL, form)
    assert not check(TOKEN, URL, {**form, name: form.get(name, "") + value + "x"}.items(), signature)
    for gone, lost in form.items():
        left = [pair for pair in form.items() if pair[0] != gone]
        assert check(TOKEN, URL, left, signature) == (gone + lost == "")


@pytest.mark.parametrize(
    "signature",
    ["", "RSOYDt4T1cUTdK1PDd93/VVr8B8", "rSOYDt4T1cUTdK1PDd93/VVr8B8=", "é", "\udcff", "=" * 9999],
)
def test_what_is_no_signature_is_refused(signature: str) -> None:
    assert not check(TOKEN, URL, FORM.items(), signature)
    assert not check("12346", URL, FORM.items(), sign(TOKEN, URL, FORM))


@given(TOKENS, FORMS, st.sampled_from(["HMAC_SHA1", "HMAC_SHA256"]))
def test_both_algorithms_are_those_of_twilios_validator(
    token: str, form: dict[str, str], algorithm: str
) -> None:
    signature = RequestValidator(token).compute_signature(URL, form, algorithm)
    assert [
        check(token, URL, form.items(), signature, ALGORITHMS[name]) for name in ("HMAC_SHA1", "HMAC_SHA256")
    ] == [algorithm == "HMAC_SHA1", algorithm == "HMAC_SHA256"]


@given(
    st.text(max_size=60)
    | st.from_regex(r"(key|algorithm) ?= ?(HMAC_SHA256|hmac_sha1|x|),?.*", fullmatch=True)
)
def test_the_algorithm_is_read_as_twilios_validator_reads_it(header: str) -> None:
    _, algorithm = read_settings(header)
    assert algorithm == ALGORITHMS.get(get_signature_algorithm(header).upper())


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", ("", "sha1")),
        ("key=webhooks_sharedkey_1,algorithm=HMAC_SHA256", ("webhooks_sharedkey_1", "sha256")),
        (" algorithm = hmac_sha256 , key = k ", ("k", "sha256")),
        ("key=k", ("k", "sha1")),
        ("algorithm=HMAC_SHA512", ("", None)),
        ("algorithm=", ("", "sha1")),
        ("algorithm=,key=,algorithm=HMAC_SHA256,algorithm=HMAC_SHA1,key=a,key=b", ("a", "sha256")),
    ],
)
def test_what_a_request_says_of_its_signature(header: str, said: tuple[str, str | None]) -> None:
    assert read_settings(header) == said
