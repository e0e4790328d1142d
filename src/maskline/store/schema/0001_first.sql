-- One text for both databases. Instants are microseconds UTC, flags 0 or 1, JSON is text. `/*WITHOUT ROWID*/` is taken
-- by SQLite (rows live in their primary key's tree) and is a comment to PostgreSQL.
-- The large tables below a Service carry service_sid first in their key and in every unique index.

CREATE TABLE accounts (
    sid TEXT PRIMARY KEY,
    friendly_name TEXT NOT NULL,
    token_digest TEXT NOT NULL,
    token_sealed TEXT NOT NULL,
    previous_digest TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    parent_sid TEXT,
    status TEXT NOT NULL DEFAULT 'active'
);

CREATE TABLE services (
    sid TEXT PRIMARY KEY,
    account_sid TEXT NOT NULL,
    unique_name TEXT NOT NULL,
    default_ttl BIGINT NOT NULL,
    callback_url TEXT,
    intercept_callback_url TEXT,
    out_of_session_callback_url TEXT,
    chat_instance_sid TEXT,
    geo_match_level TEXT NOT NULL,
    number_selection_behavior TEXT NOT NULL,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX services_name ON services (account_sid, unique_name);
CREATE INDEX services_list ON services (account_sid, sid);

-- The directory: which number is whose, who carries it, in which pool it is. Asked first by everything that comes in.
-- in_use counts active Sessions, participants their active participants; assignment raises them, and a number leaves
-- the pool only where in_use = 0: the two meet on this row.
CREATE TABLE numbers (
    phone_number TEXT PRIMARY KEY,
    sid TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    carrier_account TEXT NOT NULL,
    service_sid TEXT,
    friendly_name TEXT NOT NULL,
    iso_country TEXT,
    calling_code INTEGER NOT NULL,
    voice SMALLINT NOT NULL,
    sms SMALLINT NOT NULL,
    mms SMALLINT NOT NULL,
    is_reserved SMALLINT NOT NULL DEFAULT 0,
    in_use INTEGER NOT NULL DEFAULT 0,
    participants INTEGER NOT NULL DEFAULT 0,
    next_free_at BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX numbers_sid ON numbers (sid);
CREATE INDEX numbers_pool ON numbers (service_sid, created_at, sid) WHERE service_sid IS NOT NULL;
CREATE INDEX numbers_account ON numbers (account_sid, sid);

-- seq counts what was accepted for this Session, both ways. check_at is a lower bound of the Session's end for the
-- sweep; messages never touch it, so that it costs them nothing.
CREATE TABLE sessions (
    service_sid TEXT NOT NULL,
    sid TEXT NOT NULL,
    unique_name TEXT,
    status TEXT NOT NULL,
    closed_reason TEXT,
    mode TEXT NOT NULL,
    ttl BIGINT NOT NULL,
    expiry_at BIGINT,
    started_at BIGINT,
    ended_at BIGINT,
    last_interaction_at BIGINT,
    active_from_at BIGINT NOT NULL,
    seq BIGINT NOT NULL DEFAULT 0,
    check_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (service_sid, sid)
) /*WITHOUT ROWID*/;
CREATE UNIQUE INDEX sessions_name ON sessions (service_sid, unique_name) WHERE unique_name IS NOT NULL;
CREATE INDEX sessions_check ON sessions (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX sessions_ended ON sessions (service_sid, check_at) WHERE check_at IS NOT NULL;

-- active is 1 while the Session is active and the participant not deleted. The unique index is the hard rule of
-- number masking: it decides, whatever anybody computed before. The key begins with the Session, by which nearly
-- everything asks; `active` stands in the index so that it answers for a person's Sessions alone. Without either
-- SQLite, which keeps no statistics here, reads all participants of the Service instead.
CREATE TABLE participants (
    service_sid TEXT NOT NULL,
    sid TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    identifier TEXT NOT NULL,
    identifier_key TEXT NOT NULL,
    friendly_name TEXT,
    proxy_identifier TEXT NOT NULL,
    proxy_identifier_sid TEXT,
    active SMALLINT NOT NULL,
    deleted_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (service_sid, session_sid, sid)
) /*WITHOUT ROWID*/;
CREATE UNIQUE INDEX participants_pair ON participants (service_sid, identifier_key, active, proxy_identifier)
    WHERE active = 1;

-- One row a person and Service: locked first, it serialises one person's creates. history: proxy numbers this person
-- had, the most recent first, as a JSON list.
CREATE TABLE people (
    service_sid TEXT NOT NULL,
    identifier_key TEXT NOT NULL,
    history TEXT NOT NULL,
    PRIMARY KEY (service_sid, identifier_key)
) /*WITHOUT ROWID*/;

-- created_at is not a column: it is in the SID, so the key is in the order in which lists are read.
-- Statuses are ranks (domain.interaction), so that merging two reports is taking the higher.
CREATE TABLE interactions (
    service_sid TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    sid TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    participant_sid TEXT,
    inbound_participant_sid TEXT,
    inbound_resource_sid TEXT,
    inbound_status SMALLINT,
    outbound_participant_sid TEXT,
    outbound_resource_sid TEXT,
    outbound_status SMALLINT,
    carrier_id TEXT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (service_sid, session_sid, sid)
) /*WITHOUT ROWID*/;
CREATE INDEX interactions_carrier ON interactions (service_sid, carrier_id) WHERE carrier_id IS NOT NULL;

-- What has still to be done, one row a piece of work, in the order of arrival (id). order_key serialises: of rows that
-- share one, only the lowest seq is ever at work. state is domain.model.OutboxState. A new row is FRESH and stands in
-- one small index that only grows at its end; whatever makes it wait puts it into the others.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    order_key TEXT NOT NULL,
    seq BIGINT NOT NULL,
    state SMALLINT NOT NULL,
    carrier_account TEXT,
    number TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    uncertain SMALLINT NOT NULL DEFAULT 0,
    owner TEXT,
    started_at BIGINT,
    account_sid TEXT NOT NULL,
    service_sid TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    interaction_sid TEXT NOT NULL,
    message_sid TEXT NOT NULL,
    recipient TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX outbox_fresh ON outbox (id) WHERE state = 0;
CREATE INDEX outbox_due ON outbox (topic, due_at) WHERE state IN (1, 5);
CREATE INDEX outbox_parked ON outbox (carrier_account, number, id) WHERE state = 2;
CREATE UNIQUE INDEX outbox_busy ON outbox (order_key, seq) WHERE state <> 0;

-- What carriers have already told us, so that a repeat stops here.
CREATE TABLE received (
    carrier_account TEXT NOT NULL,
    carrier_id TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (carrier_account, carrier_id)
) /*WITHOUT ROWID*/;
CREATE INDEX received_age ON received (received_at);

CREATE TABLE idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    operation TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    resource_sid TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
) /*WITHOUT ROWID*/;

CREATE TABLE events (
    sid TEXT PRIMARY KEY,
    account_sid TEXT NOT NULL,
    service_sid TEXT,
    session_sid TEXT,
    interaction_sid TEXT,
    code INTEGER NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at BIGINT NOT NULL
) /*WITHOUT ROWID*/;
CREATE INDEX events_account ON events (account_sid, sid);

-- The sandbox carrier's own books: handsets, what they were scripted to do, and what the carrier still has to report.
CREATE TABLE sandbox_messages (
    account_sid TEXT NOT NULL,
    reference TEXT NOT NULL,
    sid TEXT NOT NULL,
    direction TEXT NOT NULL,
    from_number TEXT NOT NULL,
    to_number TEXT NOT NULL,
    body TEXT NOT NULL,
    media TEXT NOT NULL,
    status TEXT NOT NULL,
    handovers INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_sid, sid)
) /*WITHOUT ROWID*/;
CREATE UNIQUE INDEX sandbox_messages_reference ON sandbox_messages (account_sid, reference);

CREATE TABLE sandbox_behaviour (
    account_sid TEXT NOT NULL,
    to_number TEXT NOT NULL,
    outcome TEXT NOT NULL,
    delay_ms BIGINT,
    times_left INTEGER,
    PRIMARY KEY (account_sid, to_number)
) /*WITHOUT ROWID*/;

CREATE TABLE sandbox_abilities (
    account_sid TEXT PRIMARY KEY,
    carrier_keys SMALLINT NOT NULL,
    look_up SMALLINT NOT NULL
) /*WITHOUT ROWID*/;

CREATE TABLE sandbox_todo (
    due_at BIGINT NOT NULL,
    sid TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (due_at, sid)
) /*WITHOUT ROWID*/;

-- What a DELETE has made unreachable and the sweep still has to remove, a few hundred rows at a time. An empty
-- session_sid means everything of the Service.
CREATE TABLE purges (
    service_sid TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    PRIMARY KEY (service_sid, session_sid)
) /*WITHOUT ROWID*/;

-- API keys open their account as its token does. They never sign anything, so only digests are kept.
CREATE TABLE keys (
    sid TEXT PRIMARY KEY,
    account_sid TEXT NOT NULL,
    friendly_name TEXT NOT NULL,
    secret_digest TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
