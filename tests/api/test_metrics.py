"""/metrics of the ops port: what it says after a conversation, and what it says of nobody."""

import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from maskline import __version__
from maskline.metrics import METRICS, REQUESTS, Histogram, Kind
from tests.support.eventually import eventually
from tests.support.inside import Inside
from tests.support.receiver import receiving
from tests.support.server import ACCOUNT_SID, Api, RealServer
from tests.support.until import turns
from tests.support.world import make_pair, make_service

OURS, THEIRS = "+14152010901", "+14152010902"
ANN, BEN, STRANGER = "+12122010001", "+12122010002", "+12122010003"

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Figures:
    """The samples, by name and labels, as Prometheus' own parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(figures: Figures, name: str, **labels: str) -> float:
    return figures[f"maskline_{name}", tuple(sorted(labels.items()))]


def rises(before: Figures, after: Figures, name: str) -> dict[str, float]:
    """By how much each series of a metric of one label has risen, if it has."""
    changes = {
        "/".join(value for _, value in labels): value - before.get((found, labels), 0)
        for (found, labels), value in after.items()
        if found == f"maskline_{name}"
    }
    return {labels: change for labels, change in changes.items() if change}


async def scrape(inside: Inside) -> Figures:
    """What a scrape says that sees everything that has happened until now."""
    inside.clock.advance(1)
    await inside.quiet()
    reply = await inside.ops("/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(reply.raw.decode())


async def tell_all(inside: Inside) -> None:
    """Until no callback waits; they are on a wire, where the clock does not reach."""
    while await inside.rows("SELECT 1 FROM outbox WHERE topic = 'callback'"):
        inside.clock.advance(0.01)
        await turns()


async def session(inside: Inside, **form: Any) -> dict[str, str]:
    """Ann and Ben in a Session: the paths of theirs, and the number that Ann writes to."""
    service = (await inside.post("/v1/Services", {"UniqueName": "shop", **form}))["url"]
    for number in (OURS, THEIRS):
        await inside.post(f"{service}/PhoneNumbers", {"PhoneNumber": number})
    home = (await inside.post(f"{service}/Sessions"))["url"]
    ann = await inside.post(f"{home}/Participants", {"Identifier": ANN})
    await inside.post(f"{home}/Participants", {"Identifier": BEN})
    return {"service": service, "session": home, "ann": ann["url"], "number": ann["proxy_identifier"]}


async def sandbox_text(inside: Inside, sender: str, number: str, body: str = "Where are you?") -> None:
    await inside.post("/sandbox/messages", {"From": sender, "To": number, "Body": body})


async def test_a_conversation_is_told_in_exact_figures(tmp_path: Path) -> None:
    async with Inside(tmp_path / "data") as inside, receiving() as customer:
        paths = await session(inside, CallbackUrl=customer.url)
        number = paths["number"]
        before = await scrape(inside)
        for _ in range(3):
            await inside.post(f"{paths['ann']}/MessageInteractions", {"Body": "Hello Ann"})
        await sandbox_text(inside, ANN, number)
        await sandbox_text(inside, STRANGER, number)
        await inside.pass_time(1)
        await inside.post("/sandbox/behaviour", {"To": ANN, "Outcome": "fail", "Times": 1})
        await inside.post(f"{paths['ann']}/MessageInteractions", {"Body": "Hello again"})
        await inside.post("/sandbox/calls", {"From": ANN, "To": number, "Answer": "answer", "Duration": 30})
        await inside.post("/sandbox/calls", {"From": STRANGER, "To": number})
        assert (await inside.request("GET", "/v1/Services/KS00")).status == 404
        assert (await inside.request("BREW", "/nowhere")).status == 404
        await inside.pass_time(1)
        await tell_all(inside)
        after = await scrape(inside)

    assert rises(before, after, "handover_seconds_count") == {"sandbox/sent": 4, "sandbox/rejected": 1}
    assert rises(before, after, "receipts_total") == {"yes/delivered": 4}
    assert rises(before, after, "inbound_messages_total") == {"relayed": 1, "out-of-session": 1}
    assert rises(before, after, "calls_total") == {"completed": 1, "turned-away": 1}
    assert rises(before, after, "events_total") == {"80902/error": 1, "80905/warning": 1}
    told = len(customer.posts)
    assert rises(before, after, "callbacks_total") == {"good": told}
    assert rises(before, after, "customer_request_seconds_count") == {"callback": told}
    home = "/v1/Services/{service}/Sessions/{session}"
    assert rises(before, after, "http_request_seconds_count") == {
        f"POST/{home}/Participants/{{participant}}/MessageInteractions/2xx": 4,
        "POST//sandbox/messages/2xx": 2,
        "POST//sandbox/calls/2xx": 2,
        "POST//sandbox/behaviour/2xx": 1,
        "GET//v1/Services/{sid}/4xx": 1,
        "other/none/4xx": 1,
    }
    assert figure(after, "ready") == 1
    assert figure(after, "build_info", version=__version__) == 1
    assert figure(after, "carrier_slots", carrier="sandbox") == 64
    assert figure(after, "carrier_slots_in_use", carrier="sandbox") == 0
    assert figure(after, "carrier_paused", carrier="sandbox") == 0
    assert figure(after, "customer_requests_under_way", topic="callback") == 0
    assert figure(after, "database_waiting_accepts") == 0
    assert figure(after, "database_bytes") > 0
    assert figure(after, "database_wal_bytes") > 0
    assert figure(after, "disk_free_bytes") > 0
    for histogram in ("database_round_seconds", "database_round_items", "database_read_seconds"):
        assert figure(after, f"{histogram}_count") > figure(before, f"{histogram}_count") > 0
    rows = {labels: value for (name, labels), value in after.items() if name == "maskline_outbox_rows"}
    assert len(rows) == 30 and not any(rows.values())


async def test_what_waits_is_told_with_its_age(tmp_path: Path) -> None:
    async with Inside(tmp_path / "data") as inside, receiving() as customer:
        paths = await session(inside, CallbackUrl=customer.url)
        await inside.post("/sandbox/behaviour", {"To": ANN, "Outcome": "unreachable"})
        customer.stalled.clear()
        for _ in range(3):
            await inside.post(f"{paths['ann']}/MessageInteractions", {"Body": "Hello Ann"})
        figures = await scrape(inside)
        assert figure(figures, "outbox_rows", topic="send", state="waiting") == 1
        assert figure(figures, "outbox_rows", topic="send", state="held") == 2
        assert figure(figures, "outbox_rows", topic="callback", state="started") == 3
        assert figure(figures, "customer_requests_under_way", topic="callback") == 3
        assert figure(figures, "outbox_oldest_due_seconds", topic="send") == 0
        customer.stalled.set()
        await tell_all(inside)


async def test_the_list_and_the_output_are_the_same_and_nothing_is_left_out(tmp_path: Path) -> None:
    async with Inside(tmp_path / "data") as inside:
        figures = await inside.ops("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(figures.raw.decode())}
    ours = {name: family for name, family in families.items() if name.startswith("maskline_")}
    assert list(ours) == [metric.name.removesuffix("_total") for metric in METRICS]
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"} <= families.keys()
    for metric, family in zip(METRICS, ours.values(), strict=True):
        assert (family.type, family.documentation) == (metric.kind.value, metric.sentence)
        # What has not come to pass yet is told as zero, or its first time would not be seen as a rise.
        assert len(family.samples) >= len(metric.known)


def test_the_names_say_what_is_counted_and_in_which_unit() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch("maskline_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
        assert list(metric.bounds) == sorted(metric.bounds)
        assert metric.sentence.endswith(".")


def test_a_bucket_holds_what_is_at_most_its_end() -> None:
    histogram = Histogram(REQUESTS)
    for value in (0.0, 0.005, 0.0051, 10.0, 11.0):
        histogram.note(value)
    assert histogram.counts == [2, 1, 0, 0, 0, 1, 1]
    assert histogram.total == 21.0101


async def test_a_storm_of_scrapes_costs_one(tmp_path: Path) -> None:
    async with Inside(tmp_path / "data") as inside:
        name = "database_read_seconds_count"
        first = await scrape(inside)
        await inside.get("/v1/Services")
        for _ in range(20):
            assert read((await inside.ops("/metrics")).raw.decode()) == first
        inside.clock.advance(0.9)
        assert read((await inside.ops("/metrics")).raw.decode()) == first
        inside.clock.advance(0.1)
        assert figure(read((await inside.ops("/metrics")).raw.decode()), name) > figure(first, name)


async def test_where_the_queue_cannot_be_read_it_tells_the_rest(tmp_path: Path) -> None:
    async with Inside(tmp_path / "data") as inside:
        await inside.store.write(lambda tx: tx.execute("ALTER TABLE outbox RENAME TO gone"))
        figures = read((await inside.ops("/metrics")).raw.decode())
        await inside.store.write(lambda tx: tx.execute("ALTER TABLE gone RENAME TO outbox"))
    assert figure(figures, "ready") == 1
    assert figure(figures, "carrier_slots", carrier="sandbox") == 64
    assert not [name for name, _ in figures if name == "maskline_outbox_rows"]


def test_a_real_server_tells_on_its_ops_port_alone_and_of_nobody(tmp_path: Path) -> None:
    server = RealServer(tmp_path / "data").start()
    try:
        api, ops = server.api, Api(server.ops_url)
        assert api.get("/metrics").status == 404
        pair = make_pair(api, make_service(api, numbers=2))
        for _ in range(3):
            pair.send(pair.first, "Hello there, how are you?")
        api.post(
            "/sandbox/messages",
            {
                "From": pair.first["identifier"],
                "To": pair.first["proxy_identifier"],
                "Body": "Fine, thank you",
            },
        )
        api.post(
            "/sandbox/messages",
            {"From": "+12125550188", "To": pair.first["proxy_identifier"], "Body": "Who is it?"},
        )

        def delivered() -> str:
            reply = ops.get("/metrics", auth=False)
            assert reply.status == 200
            text = reply.raw.decode()
            assert figure(read(text), "receipts_total", status="delivered", matched="yes") == 4
            return text

        text = eventually(delivered)
        figures = read(text)
        assert figure(figures, "handover_seconds_count", carrier="sandbox", fate="sent") == 4
        assert figure(figures, "inbound_messages_total", result="relayed") == 1
        assert figure(figures, "inbound_messages_total", result="out-of-session") == 1
        assert figure(figures, "ready") == 1
        assert figure(figures, "outbox_oldest_due_seconds", topic="send") == 0
        for hidden in (
            *(pair.first[name] for name in ("identifier", "proxy_identifier", "sid")),
            pair.service["sid"],
            pair.session["sid"],
            pair.service["unique_name"],
            ACCOUNT_SID,
            "Hello there",
            "thank you",
        ):
            assert hidden.lstrip("+") not in text
        labels = {value for _, pairs in figures for _, value in pairs}
        assert not [value for value in labels if re.search(r"[A-Z]{2}[0-9a-f]{32}|\d{7}", value)]
    finally:
        assert server.stop() == 0, server.log()
