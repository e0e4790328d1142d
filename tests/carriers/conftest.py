import pytest

from maskline.carriers.kinds import KINDS
from tests.support.kind import ScriptedKind


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry has one kind more."""
    monkeypatch.setitem(KINDS, "scripted", ScriptedKind)
