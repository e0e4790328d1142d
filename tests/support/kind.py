"""A kind of carrier for tests, as the registry would have it: its accounts do what `ScriptedCarrier` does."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from maskline.carriers.base import Capabilities, Checked, Means, Options
from tests.support.carrier import ScriptedCarrier


class Bind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: int


class ScriptedOptions(Options):
    token: Annotated[str, msgspec.Meta(min_length=1, description="What opens it.")]
    window: Annotated[int, msgspec.Meta(ge=1, le=10, description="How many at a time.")] = 4
    binds: tuple[Bind, ...] = ()


class ScriptedKind(ScriptedCarrier):
    """Carries texts and calls, and no media."""

    options = ScriptedOptions
    can = Capabilities(voice=True)

    def __init__(self, name: str, options: ScriptedOptions, means: Means) -> None:
        super().__init__(name)
        self.said = options
        self.means = means
        self.lives: list[str] = []

    wrong = ""
    """What `check` finds, if these are two numbers."""

    async def check(self, numbers: Sequence[str]) -> list[Checked]:
        return [Checked(self.wrong, "find them")] if self.wrong and len(numbers) == 2 else []

    async def run(self) -> None:
        self.lives.append("run")
        try:
            await self.means.clock.sleep(1e9)
        finally:
            self.lives.append("cancelled")

    async def close(self) -> None:
        self.lives.append("closed")
