"""Media: from the API and from handsets to the other's handset, and as Twilio shows them."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from maskline.flows.media import MOST_BYTES, MOST_UNREAD_EACH
from tests.support.checked import CheckedApi
from tests.support.eventually import eventually
from tests.support.server import RealServer
from tests.support.world import Pair, make_pair

CAT, DOG = "https://example.com/cat.jpg", "https://example.com/dog?id=7"


@pytest.fixture
def mine(another: Callable[[], CheckedApi]) -> CheckedApi:
    """An account without messages."""
    return another()


@pytest.fixture
def pair(mine: CheckedApi) -> Pair:
    return make_pair(mine)


def refused(reply: Any, code: int, status: int = 400) -> bool:
    return (reply.status, reply.json["code"]) == (status, code)


def send(pair: Pair, **form: Any) -> Any:
    return pair.api.make(pair.messages_path(pair.first), form)


def text(pair: Pair, **form: Any) -> Any:
    """A participant's handset writes; the Interaction that it makes, once it is delivered."""
    numbers = {"From": pair.first["identifier"], "To": pair.first["proxy_identifier"]}
    assert pair.api.post("/sandbox/messages", numbers | form).status == 201
    return delivered(pair)


def delivered(pair: Pair) -> Any:
    def look() -> Any:
        (row,) = pair.api.get(pair.session["links"]["interactions"]).json["interactions"] or [None]
        return row and row["outbound_resource_status"] == "delivered" and row

    return eventually(look)


def message(api: CheckedApi, sid: str) -> Any:
    return api.get(f"/2010-04-01/Accounts/{api.account_sid}/Messages/{sid}.json").json


def reached(api: CheckedApi, who: Any) -> list[Any]:
    rows = api.get(f"/sandbox/messages?To=%2B{who['identifier'][1:]}").json["messages"]
    return [(row["body"], row["media"]) for row in reversed(rows)]


def test_media_reach_the_handset_with_the_text(mine: CheckedApi, pair: Pair) -> None:
    made = send(pair, Body="look", MediaUrl=[CAT, DOG])
    assert made["data"] == json.dumps({"body": "look", "media": [CAT, DOG]}, separators=(",", ":"))
    assert made["outbound_resource_sid"][:2] == "MM"
    assert reached(mine, pair.first) == [("look", [CAT, DOG])]
    shown = message(mine, made["outbound_resource_sid"])
    assert (shown["body"], shown["num_media"], shown["sid"]) == ("look", "2", made["outbound_resource_sid"])
    delivered(pair)  # the carrier's report finds it


def test_a_medium_needs_no_text(mine: CheckedApi, pair: Pair) -> None:
    made = send(pair, MediaUrl=CAT)
    assert json.loads(made["data"]) == {"body": "", "media": [CAT]}
    assert reached(mine, pair.first) == [("", [CAT])]


def test_an_empty_address_is_none(mine: CheckedApi, pair: Pair) -> None:
    made = send(pair, Body="look", MediaUrl=["", CAT, ""])
    assert json.loads(made["data"])["media"] == [CAT]
    assert send(pair, Body="look", MediaUrl="")["outbound_resource_sid"][:2] == "SM"


@pytest.mark.parametrize(
    "media",
    [
        [CAT] * 11,
        "cat.jpg",
        "ftp://example.com/cat.jpg",
        "https://",
        "https://example.com/a b",
        "https://example.com:0/",
        "https://example.com/" + "x" * 4000,
        [CAT, "javascript:alert(1)"],
    ],
    ids=lambda media: str(media)[:30],
)
def test_what_is_no_address_is_refused(mine: CheckedApi, pair: Pair, media: Any) -> None:
    reply = mine.post(pair.messages_path(pair.first), {"Body": "look", "MediaUrl": media})
    assert refused(reply, 80701)
    assert "MediaUrl" in reply.json["message"]
    handset = {"From": pair.first["identifier"], "To": pair.first["proxy_identifier"], "MediaUrl": media}
    assert refused(mine.post("/sandbox/messages", handset), 80701)
    assert reached(mine, pair.first) == reached(mine, pair.second) == []


def test_ten_media_of_the_greatest_length(mine: CheckedApi, pair: Pair) -> None:
    media = [f"https://example.com/{i}/".ljust(4000, "x") for i in range(10)]
    assert json.loads(send(pair, Body="é" * 1600, MediaUrl=media)["data"])["media"] == media


def test_what_a_handset_sends_goes_on_to_the_partner(mine: CheckedApi, pair: Pair) -> None:
    row = text(pair, Body="look", MediaUrl=[CAT, DOG], MediaContentType=["image/jpeg", "Video/MP4; codecs=x"])
    assert json.loads(row["data"]) == {
        "body": "look",
        "media": [CAT, DOG],
        "media_types": ["image/jpeg", "video/mp4"],
    }
    for side in ("inbound", "outbound"):
        assert row[f"{side}_resource_sid"][:2] == "MM"
        assert message(mine, row[f"{side}_resource_sid"])["num_media"] == "2"
    ((body, media),) = reached(mine, pair.second)
    assert (body, len(media)) == ("look", 2)
    assert all(link.startswith(f"{mine.url}/media/") for link in media)


@pytest.mark.parametrize("types", [["image/jpeg"], ["image/jpeg", "png"], ["image/jpeg", ""]])
def test_the_sandbox_is_told_of_all_media_what_they_are_or_of_none(
    mine: CheckedApi, pair: Pair, types: list[str]
) -> None:
    form = {"From": pair.first["identifier"], "To": pair.first["proxy_identifier"]}
    reply = mine.post("/sandbox/messages", form | {"MediaUrl": [CAT, DOG], "MediaContentType": types})
    assert refused(reply, 80701)


# …/Messages/{MM}/Media


def test_the_media_of_both_legs(mine: CheckedApi, pair: Pair) -> None:
    row = text(pair, MediaUrl=[CAT, DOG], MediaContentType=["image/webp", "video/mp4"])
    seen = set()
    for side in ("inbound", "outbound"):
        leg = message(mine, row[f"{side}_resource_sid"])
        where = leg["subresource_uris"]["media"]
        listed = mine.get(where).json
        assert (listed["page"], listed["next_page_uri"]) == (0, None)
        assert [one["content_type"] for one in listed["media_list"]] == ["image/webp", "video/mp4"]
        for one in listed["media_list"]:
            assert one["parent_sid"] == leg["sid"]
            assert one["date_created"] == leg["date_created"]
            assert one["uri"] == f"{where.removesuffix('.json')}/{one['sid']}.json"
            assert mine.get(one["uri"]).json == one
            seen.add(one["sid"])
    assert len(seen) == 4


def test_without_json_it_is_where_the_medium_is(mine: CheckedApi, pair: Pair) -> None:
    place = message(mine, send(pair, MediaUrl="https://example.com/ü.png")["outbound_resource_sid"])
    (one,) = mine.get(place["subresource_uris"]["media"]).json["media_list"]
    assert one["content_type"] == "image/png"
    reply = mine.get(one["uri"].removesuffix(".json"))
    assert (reply.status, reply.headers["location"]) == (307, "https://example.com/%C3%BC.png")


def test_the_list_pages_both_ways(mine: CheckedApi, pair: Pair) -> None:
    media = [f"https://example.com/{i}.png" for i in range(10)]
    place = message(mine, send(pair, MediaUrl=media)["outbound_resource_sid"])["subresource_uris"]["media"]
    everything = [one["sid"] for one in mine.get(place).json["media_list"]]
    page = mine.get(f"{place}?PageSize=4").json
    pages = [page]
    while page["next_page_uri"]:
        page = mine.get(page["next_page_uri"]).json
        pages.append(page)
    assert [one["sid"] for page in pages for one in page["media_list"]] == everything
    assert [len(page["media_list"]) for page in pages] == [4, 4, 2]
    back = mine.get(pages[-1]["previous_page_uri"]).json
    assert back["media_list"] == pages[1]["media_list"]
    assert mine.get(back["previous_page_uri"]).json["media_list"] == pages[0]["media_list"]
    foreign = mine.get(f"/2010-04-01/Accounts/{mine.account_sid}/Messages.json?PageSize=1").json
    assert foreign["next_page_uri"] is None
    assert refused(mine.get(f"{place}?PageToken=W2ZhbHNlLDFd"), 80701)
    assert refused(mine.get(f"{place}?PageToken=W2ZhbHNlLCJhIiwiYiJd"), 80701)


def test_what_is_not_there_is_not_found(mine: CheckedApi, pair: Pair, stranger: CheckedApi) -> None:
    plain = send(pair, Body="plain")["outbound_resource_sid"]
    with_cat = send(pair, MediaUrl=CAT)["outbound_resource_sid"]
    root = f"/2010-04-01/Accounts/{mine.account_sid}/Messages"
    assert mine.get(f"{root}/{plain}/Media.json").json["media_list"] == []
    (one,) = mine.get(f"{root}/{with_cat}/Media.json").json["media_list"]
    assert refused(mine.get(f"{root}/{plain}/Media/{one['sid']}.json"), 20404, 404)
    assert refused(mine.get(f"{root}/{with_cat}/Media/ME{'0' * 32}.json"), 20404, 404)
    assert refused(mine.get(f"{root}/{with_cat}/Media/cat.json"), 20404, 404)
    assert refused(mine.get(f"{root}/SM{with_cat[2:]}/Media.json"), 20404, 404)
    assert refused(mine.get(f"{root}/cat/Media.json"), 20404, 404)
    assert refused(stranger.get(f"{root}/{with_cat}/Media/{one['sid']}.json"), 20404, 404)
    foreign = f"/2010-04-01/Accounts/{stranger.account_sid}/Messages/{with_cat}/Media.json"
    assert refused(stranger.get(foreign), 20404, 404)
    assert refused(mine.request("DELETE", f"{root}/{with_cat}/Media/{one['sid']}.json"), 20004, 405)


def test_messages_with_and_without_media_are_listed_in_the_order_of_their_making(
    mine: CheckedApi, pair: Pair
) -> None:
    made = [send(pair, **({"MediaUrl": CAT} if i % 3 else {"Body": "plain"})) for i in range(8)]
    sids = [one["outbound_resource_sid"] for one in reversed(made)]
    page = mine.get(f"/2010-04-01/Accounts/{mine.account_sid}/Messages.json?PageSize=3").json
    listed, pages = [], [page]
    while True:
        listed += [row["sid"] for row in page["messages"]]
        if not page["next_page_uri"]:
            break
        page = mine.get(page["next_page_uri"]).json
        pages.append(page)
    assert listed == sids
    back = mine.get(pages[2]["previous_page_uri"]).json
    assert [row["sid"] for row in back["messages"]] == sids[3:6]


# Links


class Origin(BaseHTTPRequestHandler):
    """Where media are."""

    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/cat.jpg")
        self.send_header("Set-Cookie", "a=b")
        self.send_header("Content-Type", "text/html" if self.path == "/page" else "image/jpeg")
        content = b"x" * MOST_BYTES if self.path == "/long" else b"meow"
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Not on the test's output."""


@pytest.fixture
def origin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture
def links(tmp_path: Path, origin: str) -> Iterator[list[str]]:
    """What the partner gets for four media of the origin, from a server that may reach it."""
    server = RealServer(tmp_path / "data", environment={"MASKLINE_ALLOW_PRIVATE_WEBHOOKS": "true"}).start()
    pair = make_pair(CheckedApi(server.url))
    text(pair, MediaUrl=[f"{origin}/{name}" for name in ("cat.jpg", "moved", "page", "long")])
    ((_, media),) = reached(pair.api, pair.second)  # type: ignore[arg-type]
    yield media
    assert server.stop() == 0, server.log()
    assert "127.0.0.1:" not in "".join(line for line in server.log().splitlines() if "media." in line)


def fetch(link: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    with closing(HTTPConnection(urlsplit(link).netloc)) as connection:
        connection.request(method, urlsplit(link).path)
        response = connection.getresponse()
        return (
            response.status,
            response.read(),
            {name.lower(): value for name, value in response.getheaders()},
        )


def test_a_link_leads_to_the_medium_and_to_nothing_that_could_act(links: list[str]) -> None:
    for link in links[:2]:
        status, content, headers = fetch(link)
        assert (status, content, headers["content-type"]) == (200, b"meow", "image/jpeg")
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert not {"set-cookie", "location", "server"} & set(headers)
        assert fetch(link, "HEAD")[:2] == (200, b"")
    status, content, _ = fetch(links[2])
    assert (status, json.loads(content)["code"]) == (502, 11200)
    assert fetch(links[0], "POST")[0] == 405


def ask_and_not_read(link: str) -> socket.socket:
    """A request whose answer has begun."""
    url = urlsplit(link)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((url.hostname, url.port))
    connection.sendall(f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def test_who_does_not_read_what_was_asked_for_does_not_fill_the_servers_memory(links: list[str]) -> None:
    with ExitStack() as stack:
        for _ in range(-(-MOST_UNREAD_EACH // MOST_BYTES)):
            stack.enter_context(closing(ask_and_not_read(links[3])))
        assert fetch(links[0])[0] == 503
    eventually(lambda: fetch(links[0])[0] == 200)
    assert len(fetch(links[3])[1]) == MOST_BYTES


def test_a_link_into_the_servers_own_network_leads_nowhere(mine: CheckedApi, pair: Pair, origin: str) -> None:
    text(pair, MediaUrl=f"{origin}/cat.jpg")
    ((_, (link,)),) = reached(mine, pair.second)
    reply = mine.get(link.removeprefix(mine.url), auth=False)
    assert refused(reply, 11200, 502)
    assert origin.partition("://")[2] not in str(reply)
    assert refused(mine.get(f"{link.removeprefix(mine.url)}x", auth=False), 20404, 404)
