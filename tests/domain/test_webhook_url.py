"""What a customer's URL asks for in its fragment, how it is sent, and what of it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.webhook_url import Overrides, Trouble, as_sent, leads_to, parse_overrides, redact

URL = "https://example.com/hook?a=1"
CT, RT, CLIENT, SERVER = Trouble.CONNECT, Trouble.READ, Trouble.CLIENT_ERROR, Trouble.SERVER_ERROR


def test_without_a_fragment_twilios_defaults_hold() -> None:
    assert parse_overrides(URL) == Overrides(5, 15, 15, 1, frozenset({CT}))
    assert parse_overrides(f"{URL}#") == parse_overrides(URL)


@pytest.mark.parametrize(
    ("fragment", "overrides"),
    [
        ("ct=2000", Overrides(connect_s=2)),
        ("ct=2000&rt=1500&tt=9000&rc=3&rp=4xx", Overrides(2, 1.5, 9, 3, frozenset({CLIENT}))),
        ("rp=5xx,rt", Overrides(retry_on=frozenset({SERVER, RT}))),
        ("rp=4xx,5xx,ct,rt", Overrides(retry_on=frozenset(Trouble))),
        ("rp=all", Overrides(retry_on=frozenset(Trouble))),
        ("rp=all,ct", Overrides(retry_on=frozenset(Trouble))),
        ("rp=6xx,ct", Overrides()),
        ("rp=6xx", Overrides()),
        ("rp=", Overrides()),
        ("rc=0", Overrides(retries=0)),
        ("e=ashburn&sni=y&ct=300", Overrides(connect_s=0.3)),
        ("section-2", Overrides()),
        ("ct=99", Overrides(connect_s=0.1)),
        ("ct=0&rt=1&tt=2", Overrides(0.1, 0.1, 0.1)),
        ("ct=10001&rt=15001&tt=999999999&rc=6", Overrides(10, 15, 15, 5)),
        ("ct=-5&rt=1.5&tt=9999999999&rc=two", Overrides()),
        ("CT=2000&ct=٣٠٠", Overrides()),
        ("ct=2000#rc=0", Overrides()),
        ("ct=200&ct=300", Overrides(connect_s=0.3)),
    ],
)
def test_the_fragment_overrides_what_it_names(fragment: str, overrides: Overrides) -> None:
    assert parse_overrides(f"{URL}#{fragment}") == overrides


@given(st.text() | st.from_regex(r"\A((ct|rt|tt|rc|rp)=[0-9a-z,]{0,9}&?){0,6}\Z"))
def test_whatever_is_asked_stays_within_limits(fragment: str) -> None:
    overrides = parse_overrides(f"{URL}#{fragment}")
    assert 0.1 <= overrides.connect_s <= 10
    assert 0.1 <= overrides.read_s <= 15
    assert 0.1 <= overrides.total_s <= 15
    assert 0 <= overrides.retries <= 5
    assert overrides.retry_on


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        (URL, URL),
        (f"{URL}#ct=100", URL),
        ("HTTP://Example.COM:80", "HTTP://Example.COM:80/"),
        ("https://h/%7e'(\"<>)?q=[x]|^`", "https://h/%7e'(\"<>)?q=[x]|^`"),
        ("https://h/ü?ß=é", "https://h/%C3%BC?%C3%9F=%C3%A9"),
        ("https://h?é/", "https://h/?%C3%A9/"),
        ("https://ü:é@münchen.example:8443/ö", "https://%C3%BC:%C3%A9@xn--mnchen-3ya.example:8443/%C3%B6"),
        ("https://h/a b\r\nX: y", "https://h/a%20b%0D%0AX:%20y"),
    ],
)
def test_what_is_sent(url: str, sent: str) -> None:
    assert as_sent(url) == sent


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sent_can_be_sent_and_is_sent_as_it_is(text: str) -> None:
    sent = as_sent(f"https://example.com/{text}")
    assert all("!" <= character <= "~" for character in sent)
    assert "#" not in sent
    assert as_sent(sent) == sent


HOME = "https://masked.example.com"


@pytest.mark.parametrize(
    ("url", "home", "same"),
    [
        ("https://masked.example.com/v1/Services?a=b#rc=0", HOME, True),
        ("http://masked.example.com/", HOME, True),
        ("https://MASKED.example.com.:443", HOME, True),
        ("https://anna:secret@masked.example.com", HOME, True),
        ("https://masked.example.com:8443/", HOME, False),
        ("https://app.example.com/?masked.example.com", HOME, False),
        ("https://masked.example.com@app.example.com/", HOME, False),
        ("http://127.0.0.1:8080/hook", "http://127.0.0.1:8080", True),
        ("http://127.0.0.1:8081/hook", "http://127.0.0.1:8080", False),
        ("http://[::1]:8080", "http://[::1]:8080", True),
        ("https://münchen.example/", "https://xn--mnchen-3ya.example", True),
    ],
)
def test_whether_it_leads_to_ourselves(url: str, home: str, same: bool) -> None:
    assert leads_to(url, home) is same


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://anna:secret@example.com:8443/a/b?key=hidden#ct=1", "https://example.com:8443/a/b"),
        ("http://example.com", "http://example.com/"),
        ("http://[2001:db8::1]:80/x", "http://[2001:db8::1]:80/x"),
        ("http://h/a\nb", "http://h/a%0Ab"),
        ("http://h:x/secret", "…"),
        ("http://[::1/secret", "…"),
        ("http://..ü..", "…"),
        ("secret", "…"),
        ("", "…"),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(st.text(), st.text())
def test_a_secret_is_never_shown(before: str, after: str) -> None:
    """Whatever stands around it, userinfo, query and fragment stay hidden."""
    assert "secret" not in redact(f"https://user:secret@example.com/?{before}secret#{after}secret")
