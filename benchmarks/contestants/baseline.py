"""The idiomatic baseline: how POST MessageInteractions is usually written in Python today.

FastAPI, Pydantic models in and out, SQLAlchemy 2's async ORM on aiosqlite, a database session per request, HTTP Basic
by a dependency that loads the account's row. It has the same durability as the other contestants (WAL,
synchronous=FULL) and writes the rows that an accepted message needs: an interaction and its outbox row. It does
less than maskline: no status of the Session is raised, no order is kept, no Idempotency-Key is looked at.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, FastAPI, Form, HTTPException, Path
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel, Field
from sqlalchemy import DateTime, ForeignKey, Index, Text, event, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# ---------------------------------------------------------------------------------------------------- the database

# Five connections were the fastest tried on two cores: 1.15 times one, 1.1 times the default of 5 to 15.
engine = create_async_engine(
    f"sqlite+aiosqlite:///{os.environ['BENCH_DATABASE']}", pool_size=5, max_overflow=0, pool_timeout=60
)
session_factory = async_sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine.sync_engine, "connect")
def set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 20000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    sid: Mapped[str] = mapped_column(Text, primary_key=True)
    token_sha256: Mapped[str] = mapped_column(Text)


class Service(Base):
    __tablename__ = "services"
    sid: Mapped[str] = mapped_column(Text, primary_key=True)
    account_sid: Mapped[str] = mapped_column(ForeignKey("accounts.sid"))


class ProxySession(Base):
    __tablename__ = "sessions"
    sid: Mapped[str] = mapped_column(Text, primary_key=True)
    service_sid: Mapped[str] = mapped_column(ForeignKey("services.sid"), index=True)
    status: Mapped[str] = mapped_column(Text)


class Participant(Base):
    __tablename__ = "participants"
    sid: Mapped[str] = mapped_column(Text, primary_key=True)
    session_sid: Mapped[str] = mapped_column(ForeignKey("sessions.sid"), index=True)
    identifier: Mapped[str] = mapped_column(Text)
    proxy_identifier: Mapped[str] = mapped_column(Text)


class Interaction(Base):
    __tablename__ = "interactions"
    __table_args__ = (Index("interactions_by_session", "session_sid", "date_created"),)
    sid: Mapped[str] = mapped_column(Text, primary_key=True)
    account_sid: Mapped[str] = mapped_column(Text)
    service_sid: Mapped[str] = mapped_column(Text)
    session_sid: Mapped[str] = mapped_column(Text)
    participant_sid: Mapped[str] = mapped_column(Text)
    data: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    inbound_participant_sid: Mapped[str | None] = mapped_column(Text)
    inbound_resource_sid: Mapped[str | None] = mapped_column(Text)
    inbound_resource_status: Mapped[str | None] = mapped_column(Text)
    outbound_participant_sid: Mapped[str | None] = mapped_column(Text)
    outbound_resource_sid: Mapped[str | None] = mapped_column(Text)
    outbound_resource_status: Mapped[str | None] = mapped_column(Text)
    date_created: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    date_updated: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Outbox(Base):
    __tablename__ = "outbox"
    __table_args__ = (Index("outbox_due", "id", sqlite_where=text("state = 0")),)
    id: Mapped[int] = mapped_column(primary_key=True)
    interaction_sid: Mapped[str] = mapped_column(Text)
    resource_sid: Mapped[str] = mapped_column(Text)
    from_number: Mapped[str] = mapped_column(Text)
    to_number: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    state: Mapped[int] = mapped_column(default=0)


# --------------------------------------------------------------------------------------------------- the HTTP layer


class NewMessage(BaseModel):
    Body: str = Field(min_length=1, max_length=1600)
    MediaUrl: str | None = None


class MessageInteraction(BaseModel):
    sid: str
    url: str
    data: str
    type: str
    account_sid: str
    service_sid: str
    session_sid: str
    participant_sid: str
    date_created: datetime
    date_updated: datetime
    inbound_participant_sid: str | None = None
    inbound_resource_sid: str | None = None
    inbound_resource_status: str | None = None
    inbound_resource_type: str | None = None
    inbound_resource_url: str | None = None
    outbound_participant_sid: str | None = None
    outbound_resource_sid: str | None = None
    outbound_resource_status: str | None = None
    outbound_resource_type: str | None = None
    outbound_resource_url: str | None = None


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
basic = HTTPBasic()


async def get_database() -> AsyncIterator[AsyncSession]:
    async with session_factory() as database:
        yield database


Database = Annotated[AsyncSession, Depends(get_database)]


async def get_account(
    credentials: Annotated[HTTPBasicCredentials, Depends(basic)], database: Database
) -> Account:
    account = await database.get(Account, credentials.username)
    digest = hashlib.sha256(credentials.password.encode()).hexdigest()
    if account is None or not hmac.compare_digest(account.token_sha256, digest):
        raise HTTPException(401)
    return account


@app.post(
    "/v1/Services/{service_sid}/Sessions/{session_sid}/Participants/{participant_sid}/MessageInteractions"
)
async def create_message_interaction(
    service_sid: Annotated[str, Path(pattern="^KS[0-9a-f]{32}$")],
    session_sid: Annotated[str, Path(pattern="^KC[0-9a-f]{32}$")],
    participant_sid: Annotated[str, Path(pattern="^KP[0-9a-f]{32}$")],
    message: Annotated[NewMessage, Form()],
    account: Annotated[Account, Depends(get_account)],
    database: Database,
) -> MessageInteraction:
    service = await database.get(Service, service_sid)
    if service is None or service.account_sid != account.sid:
        raise HTTPException(404)
    session = await database.scalar(
        select(ProxySession).where(ProxySession.sid == session_sid, ProxySession.service_sid == service_sid)
    )
    if session is None:
        raise HTTPException(404)
    if session.status == "closed":
        raise HTTPException(400)
    participant = await database.scalar(
        select(Participant).where(Participant.sid == participant_sid, Participant.session_sid == session_sid)
    )
    if participant is None:
        raise HTTPException(404)

    now = datetime.now(UTC)
    interaction = Interaction(
        sid=f"KI{uuid4().hex}",
        account_sid=account.sid,
        service_sid=service_sid,
        session_sid=session_sid,
        participant_sid=participant_sid,
        data=json.dumps({"body": message.Body}, ensure_ascii=False, separators=(",", ":")),
        type="message",
        outbound_participant_sid=participant_sid,
        outbound_resource_sid=f"SM{uuid4().hex}",
        outbound_resource_status="queued",
        date_created=now,
        date_updated=now,
    )
    database.add(interaction)
    database.add(
        Outbox(
            interaction_sid=interaction.sid,
            resource_sid=interaction.outbound_resource_sid,
            from_number=participant.proxy_identifier,
            to_number=participant.identifier,
            payload=interaction.data,
        )
    )
    await database.commit()
    return MessageInteraction(
        sid=interaction.sid,
        url=f"/v1/Services/{service_sid}/Sessions/{session_sid}/Participants/{participant_sid}"
        f"/MessageInteractions/{interaction.sid}",
        data=interaction.data,
        type=interaction.type,
        account_sid=interaction.account_sid,
        service_sid=interaction.service_sid,
        session_sid=interaction.session_sid,
        participant_sid=interaction.participant_sid,
        date_created=interaction.date_created,
        date_updated=interaction.date_updated,
        outbound_participant_sid=interaction.outbound_participant_sid,
        outbound_resource_sid=interaction.outbound_resource_sid,
        outbound_resource_status=interaction.outbound_resource_status,
        outbound_resource_type="Message",
    )
