"""Whether a carrier account works, by what comes of hand-overs: in trouble since one failed, down once enough have.

One success ends any trouble. What a carrier refuses for the message's own sake, and that it wants to be asked less
often, says nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from maskline.domain.model import SECOND

LEAST_FAILURES = 3
FORGOTTEN_US = 600 * SECOND
"""A failure says nothing of one that is so much later: a message that waits is tried more often."""
TRY_US = 60 * SECOND
"""How often one message tries an account that is down."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Of an account that has taken nothing since `failing_since`, in `failures` hand-overs, the last at `failed_at`.

    `down_since`: since when it counts as down, so that its sends wait; None: it does not. `refused`: its credentials
    are. `try_at`: when the next message may try it. `account_sid`: who is told.
    """

    account_sid: str
    failing_since: int
    failed_at: int
    failures: int
    down_since: int | None = None
    refused: bool = False
    try_at: int = 0

    @property
    def is_down(self) -> bool:
        return self.down_since is not None

    def tried(self, now: int) -> Trouble:
        """A message tries it now."""
        return replace(self, try_at=now + TRY_US)


def with_failure(trouble: Trouble | None, account_sid: str, now: int, outage_after_us: int) -> Trouble:
    """The account has failed once more: it is down if it has done so for `outage_after_us`."""
    if trouble is None or (not trouble.is_down and now - trouble.failed_at > FORGOTTEN_US):
        return Trouble(account_sid, now, now, 1)
    if trouble.is_down:
        return trouble
    failed = replace(trouble, failures=trouble.failures + 1, failed_at=now)
    if failed.failures < LEAST_FAILURES or now - failed.failing_since < outage_after_us:
        return failed
    return replace(failed, down_since=now, try_at=now + TRY_US)


def with_refusal(trouble: Trouble | None, account_sid: str, now: int) -> Trouble:
    """The account's credentials were refused: it is down at once."""
    known = trouble or Trouble(account_sid, now, now, 0)
    return replace(
        known,
        failures=known.failures + 1,
        failed_at=now,
        down_since=now if known.down_since is None else known.down_since,
        refused=True,
        try_at=now + TRY_US,
    )
