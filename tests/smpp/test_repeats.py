"""Of what comes again, exactly as much is a repeat as was lost."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from maskline.carriers.smpp.pdu import Address, ShortMessage, Tag
from maskline.carriers.smpp.repeats import Repeats, digest_of

ONE, TWO = Address(1, 1, "1"), Address(1, 1, "2")


@given(st.lists(st.tuples(st.sampled_from(["lose", "come", "wait"]), st.sampled_from("abc")), max_size=60))
def test_each_that_was_lost_stands_for_one_repeat_and_no_more(steps: list[tuple[str, str]]) -> None:
    repeats, lost, now = Repeats(), Counter[str](), 0.0
    for i, (step, digest) in enumerate(steps):
        match step:
            case "lose":
                repeats.lose(digest, f"{digest}{i}", now)
                lost[digest] += 1
            case "come":
                claimed = repeats.claim(digest, now)
                assert (claimed is not None) == (lost[digest] > 0)
                assert claimed is None or claimed[0] == digest
                lost[digest] -= lost[digest] > 0
            case _:
                now += 601
                lost.clear()


def test_the_first_that_was_lost_is_the_first_that_comes_again() -> None:
    repeats = Repeats()
    repeats.lose("a", "1", 0)
    repeats.lose("a", "2", 1)
    assert [repeats.claim("a", 2) for _ in range(3)] == ["1", "2", None]


def test_an_answer_is_in_doubt_for_ten_minutes_if_its_connection_broke_soon_after_it() -> None:
    repeats = Repeats()
    for now, digest in ((0, "old"), (11, "new"), (11, "ended")):
        connection = "ended" if digest == "ended" else "broken"
        repeats.note_answer(connection, digest, ("+14155550100", digest), now)
    repeats.close("broken", 12, broken=True)
    repeats.close("ended", 12, broken=False)
    assert [carrier_id for _, carrier_id in repeats.settled(12)] == ["old", "ended"]
    assert not repeats.is_doubtful("old", 13)
    assert not repeats.is_doubtful("ended", 13)
    assert repeats.is_doubtful("new", 13)
    assert not repeats.is_doubtful("new", 13)


def test_an_answer_has_arrived_after_ten_seconds_without_a_break() -> None:
    repeats = Repeats()
    for now in (0, 1, 2):
        repeats.note_answer("link", "a", ("+14155550100", f"{now}"), now)
    assert repeats.settled(10) == []
    assert repeats.settled(11.5) == [("+14155550100", "0"), ("+14155550100", "1")]
    assert repeats.settled(13) == [("+14155550100", "2")]
    assert not repeats.is_doubtful("a", 13)


def test_what_is_kept_is_bounded_by_time() -> None:
    repeats = Repeats()
    for i in range(2000):
        repeats.lose(f"{i}", f"{i}", i)
    assert len(repeats._lost) <= 601


def test_two_messages_have_one_digest_only_if_they_are_equal() -> None:
    def digest(source: Address = ONE, content: bytes = b"x", key: bytes = b"k", **fields: object) -> str:
        return digest_of(ShortMessage(source, ONE, content, **fields), key)  # type: ignore[arg-type]

    assert digest() == digest(tlvs={0x1400: b"a vendor's time"})
    others = {
        digest(TWO),
        digest(content=b"y"),
        digest(key=b"l"),
        digest(data_coding=8),
        digest(esm_class=0x40),
        digest(tlvs={Tag.SAR_PLACE: b"\1"}),
        digest(tlvs={Tag.SAR_TOTAL: b"\1"}),
    }
    assert len(others - {digest()}) == 7
