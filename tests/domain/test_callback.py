"""The token by which a receiver knows a repeated callback."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from maskline.domain.callback import token_of

NAMESPACE = uuid.UUID("5b0c7bd2-7c5e-4f2c-9a63-0f5a2f3f6a11")


@given(st.text(max_size=40))
def test_it_is_the_uuid_that_the_standard_names(sid: str) -> None:
    try:
        wanted = str(uuid.uuid5(NAMESPACE, sid))
    except UnicodeEncodeError:
        return
    assert token_of(sid) == wanted
