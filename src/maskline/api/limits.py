"""How often a Service may be asked: at most five times the rate in any five seconds, as at Twilio.

Counted in this process's memory and nowhere else.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.model import SECOND
from maskline.domain.problems import Problem

WINDOW_S = 5
_WINDOW = WINDOW_S * SECOND


class SlidingWindow:
    """At most 5 times `rate` admissions a key in any 5 seconds, whenever they begin; a steady `rate` is never refused.

    Pure: time is an argument, `now` in microseconds, and never falls. Of what it has admitted it holds that of the last
    two windows at most.
    """

    def __init__(self, rate: int) -> None:
        self._most = rate * WINDOW_S
        # The keys in order of their last admission, so that those to be forgotten stand first.
        self._admitted: OrderedDict[Hashable, deque[int]] = OrderedDict()

    def admit(self, key: Hashable, now: int) -> int:
        """0: go on, it is counted. Else it is not, and so many microseconds later one would be admitted."""
        over = now - _WINDOW
        self._forget(over)
        instants = self._admitted.get(key)
        if instants is None:
            instants = self._admitted[key] = deque()
        else:
            while instants[0] <= over:
                instants.popleft()
            if len(instants) >= self._most:
                return instants[0] - over
            self._admitted.move_to_end(key)
        instants.append(now)
        return 0

    def _forget(self, over: int) -> None:
        while self._admitted:
            key, instants = next(iter(self._admitted.items()))
            if instants[-1] > over:
                return
            del self._admitted[key]


class RateLimit:
    """The limit on the Proxy API: a Service, a collection of resources and a method are counted together."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self._window = SlidingWindow(rate)
        self._clock = clock

    def check(self, account_sid: str, method: str, path: str, sids: Mapping[str, str]) -> None:
        """Count a request. Raises 20429, with the whole seconds to wait in `Retry-After`."""
        if not path.startswith("/v1/Services"):
            return
        segments = path.split("/")
        # "", v1, Services, its SID, Sessions, its SID, …: every other segment names a collection, from the third on.
        collection = segments[(len(segments) - 1) // 2 * 2]
        # What stands above all Services counts for the account; a SID is one Service in either letter case.
        service = sids.get("service") or sids.get("sid", "")
        if is_sid(service, "KS"):
            service = canonical(service)
        key = (account_sid, service, collection, "GET" if method == "HEAD" else method)
        if wait := self._window.admit(key, int(self._clock.uptime() * SECOND)):
            raise Problem(problems.TOO_MANY_REQUESTS, headers={"Retry-After": str(-(-wait // SECOND))})
