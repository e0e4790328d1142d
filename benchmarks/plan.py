"""How much a run does: one frozen struct, with a full and a quick form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    work: Path
    """Where databases lie while the run lasts. On a real disk: a tmpfs makes every fdatasync free."""
    quick: bool = False
    """A smoke run: it shows that everything works, its figures mean nothing."""
    rounds: int = 5
    seconds: float = 3.0
    services: int = 10
    numbers: int = 25
    """Proxy numbers in each Service's pool."""
    sessions: int = 5000
    connections: tuple[int, ...] = (16, 64)
    first_rate: float = 1000.0
    """Where the search for the highest sustained rate begins."""
    step_factor: float = 1.0
    """A step of the search lasts this many times `seconds`, plus two."""
    fineness: float = 1.06
    """The search ends when the lowest failed rate is within this factor of the highest sustained one."""
    parked: int = 100_000
    parked_participants: int = 1000
    """So many handsets are throttled, and share the parked messages evenly."""
    turns: int = 3
    """Searches for the highest rate of each who relays over SMPP."""
    messages: int = 100_000
    """Messages behind which the memory is read."""

    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Sessions in the stores whose growth is looked at, the smallest first."""
    stores: Path | None = None
    """Where those on PostgreSQL lie that are to be used again."""
    pool: int = 500
    asks: int = 20
    """Requests of one kind to one store in a round of the growth part; it has twice as many rounds."""

    @property
    def step_s(self) -> float:
        return self.seconds * self.step_factor + (0 if self.quick else 2)


def quick(work: Path) -> Plan:
    return Plan(
        work,
        quick=True,
        rounds=1,
        seconds=1.0,
        services=2,
        sessions=200,
        step_factor=0.6,
        fineness=1.8,
        parked=2000,
        parked_participants=50,
        turns=1,
        messages=2000,
        sizes=(200, 2000),
        pool=50,
        asks=3,
    )
