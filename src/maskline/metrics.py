"""What is measured: the one list of metrics, and the plain counters that their owners keep.

Whoever owns a figure counts it in plain numbers and tells it when asked (`Sample`); what is written out at `/metrics`
asks them all (`api/metrics.py`). Names are a promise. Nothing personal is ever a label: no number, no name, no SID.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from maskline.domain import problems
from maskline.domain.interaction import CALL_WORDS, WORDS, CallStatus
from maskline.domain.problems import Code

TOPICS = ("send", "intercept", "out_of_session", "callback", "optout", "receipt")
"""Of what stands in the outbox."""

STATES = ("waiting", "parked", "held", "started", "dead")
"""How far a row of the outbox is, in the words of its metric."""


class Kind(StrEnum):
    """What a metric is to whoever reads it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One line of the list. `bounds`: the upper ends of a histogram's buckets. `known`: the values of its labels that
    are told from the start, as zero, so that the first of them is seen as a rise.
    """

    name: str
    kind: Kind
    sentence: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()


class Histogram:
    """How many of what was noted fell into which bucket, and the sum of it all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, metric: Metric) -> None:
        self.bounds = metric.bounds
        self.counts = [0] * (len(metric.bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


Sample = tuple[Metric, tuple[str, ...], float | Histogram]
"""A figure as its owner tells it: of which metric, with which labels."""


def _each(values: tuple[str, ...]) -> tuple[tuple[str], ...]:
    return tuple((value,) for value in values)


_catalogue = sorted(
    (code for code in vars(problems).values() if isinstance(code, Code)), key=lambda code: code.number
)
_QUICK = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
_COMMIT = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5)
_REPORTED = tuple(WORDS.values())
_ENDS = tuple(word for rank, word in CALL_WORDS.items() if rank >= CallStatus.CANCELED)
TURNED_AWAY = "turned-away"

REQUESTS = Metric(
    "maskline_http_request_seconds",
    Kind.HISTOGRAM,
    "How long requests of the main port took to answer. `route` is the pattern of the path (`none`: there is no such"
    " path), `status` the class of the answer.",
    ("route", "method", "status"),
    _QUICK,
)
OUTBOX_ROWS = Metric(
    "maskline_outbox_rows",
    Kind.GAUGE,
    "What has still to be done. `waiting`: to be started, now or at its time; `parked`: its carrier account or number"
    " cannot send now; `held`: an earlier one is unfinished; `dead`: given up. The newest 50,000 are looked at, and as"
    " many dead ones.",
    ("topic", "state"),
    known=tuple(product(TOPICS, STATES)),
)
OUTBOX_AGE = Metric(
    "maskline_outbox_oldest_due_seconds",
    Kind.GAUGE,
    "For how long the oldest row that is due has waited to be started; 0 where none is.",
    ("topic",),
    known=_each(TOPICS),
)
HANDOVERS = Metric(
    "maskline_handover_seconds",
    Kind.HISTOGRAM,
    "How long hand-overs to carriers took, by what is known of the message afterwards. `retry`: not taken, again later;"
    " `given back`: never written to the wire; `uncertain`, `ask`: it may have been taken, and the carrier is asked"
    " where it can be. To ask is told here, too.",
    ("carrier", "fate"),
    _QUICK,
)
CARRIER_PAUSED = Metric(
    "maskline_carrier_paused",
    Kind.GAUGE,
    "1 while the carrier refuses the account's credentials.",
    ("carrier",),
)
CARRIER_DOWN = Metric(
    "maskline_carrier_down",
    Kind.GAUGE,
    "1 while the account takes nothing: its credentials are refused, or all hand-overs fail.",
    ("carrier",),
)
SLOTS = Metric("maskline_carrier_slots", Kind.GAUGE, "How many hand-overs may be under way.", ("carrier",))
SLOTS_IN_USE = Metric(
    "maskline_carrier_slots_in_use", Kind.GAUGE, "How many hand-overs are under way.", ("carrier",)
)
RECEIPTS = Metric(
    "maskline_receipts_total",
    Kind.COUNTER,
    "Delivery reports by what they said. `matched`: whether their message was found at once.",
    ("status", "matched"),
    known=tuple(product(_REPORTED, ("yes", "no"))),
)
INBOUND = Metric(
    "maskline_inbound_messages_total",
    Kind.COUNTER,
    "Messages that carriers brought, by what became of them at first.",
    ("result",),
    known=_each(
        (
            "relayed",
            "out-of-session",
            "refused",
            "repeated",
            "stop-word",
            "too-fast",
            "wrong-carrier",
            "not-wired",
            "unknown-number",
        )
    ),
)
CALLS = Metric(
    "maskline_calls_total",
    Kind.COUNTER,
    f"Calls by their final status. `{TURNED_AWAY}`: nobody was dialled.",
    ("status",),
    known=_each((*_ENDS, TURNED_AWAY)),
)
VERDICTS = Metric(
    "maskline_intercept_verdicts_total",
    Kind.COUNTER,
    "What came of asking InterceptCallbackUrls about messages and calls. `none`: no answer that is one.",
    ("verdict",),
    known=_each(("passed", "blocked", "none")),
)
CALLBACKS = Metric(
    "maskline_callbacks_total",
    Kind.COUNTER,
    "Attempts to tell a CallbackUrl. `failed`: again later; `dead`: given up.",
    ("outcome",),
    known=_each(("good", "failed", "dead")),
)
CUSTOMER_SECONDS = Metric(
    "maskline_customer_request_seconds",
    Kind.HISTOGRAM,
    "How long it took to ask or tell customers' servers, until what came of it was stored.",
    ("topic",),
    _QUICK,
)
CUSTOMER_UNDER_WAY = Metric(
    "maskline_customer_requests_under_way",
    Kind.GAUGE,
    "How many customers' servers are being asked or told.",
    ("topic",),
)
EVENTS = Metric(
    "maskline_events_total",
    Kind.COUNTER,
    "Events by code. What only ever becomes an event is told from the start.",
    ("code", "level"),
    known=tuple((str(code.number), code.level.lower()) for code in _catalogue if code.status is None),
)
ROUND_SECONDS = Metric(
    "maskline_database_round_seconds",
    Kind.HISTOGRAM,
    "How long rounds of the writer took, commit included.",
    bounds=_COMMIT,
)
ROUND_ITEMS = Metric(
    "maskline_database_round_items",
    Kind.HISTOGRAM,
    "How many writes rounds of the writer committed together.",
    bounds=(1, 4, 16, 64, 256, 1024),
)
READ_SECONDS = Metric(
    "maskline_database_read_seconds",
    Kind.HISTOGRAM,
    "How long reads took, the wait for a reader included.",
    bounds=_COMMIT,
)
WAITING_ACCEPTS = Metric(
    "maskline_database_waiting_accepts",
    Kind.GAUGE,
    "How many messages wait to be accepted; with 2,000, a further one is refused (503).",
)
DATABASE_BYTES = Metric("maskline_database_bytes", Kind.GAUGE, "Size of the database file (SQLite).")
WAL_BYTES = Metric("maskline_database_wal_bytes", Kind.GAUGE, "Size of the database's log (SQLite).")
DISK_FREE_BYTES = Metric(
    "maskline_disk_free_bytes", Kind.GAUGE, "What is free on the disk that the database is on (SQLite)."
)
READY = Metric(
    "maskline_ready",
    Kind.GAUGE,
    "Whether this process can do its work, as `/readyz` says; which also says why not.",
)
BUILD = Metric("maskline_build_info", Kind.GAUGE, "Always 1. Which maskline this is.", ("version",))

METRICS = tuple(metric for metric in vars().values() if isinstance(metric, Metric))
