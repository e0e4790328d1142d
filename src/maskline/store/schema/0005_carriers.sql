-- Real carriers.

-- When a message was handed over whose outcome is unknown: its carrier is asked for one that was made about then.
ALTER TABLE outbox ADD COLUMN handed_at BIGINT;

-- The numbers that a carrier account carries.
CREATE INDEX numbers_carrier ON numbers (carrier_account, phone_number);

-- Numbers whose traffic a carrier account has been told to bring here, and where it went before, in the carrier's words. At
-- due_at it is told again, or told to bring it there, as the number is in a pool then and carried by it, or not.
CREATE TABLE adoptions (
    phone_number TEXT NOT NULL,
    carrier_account TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    former TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at BIGINT,
    PRIMARY KEY (phone_number, carrier_account)
) /*WITHOUT ROWID*/;
CREATE INDEX adoptions_due ON adoptions (due_at) WHERE due_at IS NOT NULL;

-- Where messages wait for their number's or account's rate, those that pass on what a person wrote (turn 0) go before those
-- that the API made (1).
ALTER TABLE outbox ADD COLUMN turn SMALLINT NOT NULL DEFAULT 1;
DROP INDEX outbox_parked;
CREATE INDEX outbox_parked ON outbox (carrier_account, number, turn, id) WHERE state = 2;

-- A number's own rate: the time from one message to the next. And when an account that has a rate may send again.
ALTER TABLE numbers ADD COLUMN gap_us BIGINT;
CREATE TABLE carrier_paces (
    carrier_account TEXT PRIMARY KEY,
    next_free_at BIGINT NOT NULL
) /*WITHOUT ROWID*/;

-- Parts of long messages from handsets that wait for the others, and for a while, without their text, those of messages
-- that went on (store/parts.py).
CREATE TABLE parts (
    carrier_account TEXT NOT NULL,
    sender TEXT NOT NULL,
    number TEXT NOT NULL,
    reference TEXT NOT NULL,
    place SMALLINT NOT NULL,
    total SMALLINT NOT NULL,
    message_id TEXT NOT NULL,
    coding SMALLINT NOT NULL,
    content TEXT NOT NULL,
    digest TEXT NOT NULL,
    brought SMALLINT NOT NULL,
    kept_at BIGINT NOT NULL,
    PRIMARY KEY (carrier_account, sender, number, reference, place)
) /*WITHOUT ROWID*/;
CREATE INDEX parts_waiting ON parts (carrier_account, sender, number, reference) WHERE brought <> 1;
CREATE INDEX parts_age ON parts (brought, kept_at);

-- Carrier accounts that have taken nothing since a hand-over failed (domain/health.py). down_since: since when their sends
-- wait; try_at: when the next message may try one that is down.
CREATE TABLE carrier_health (
    carrier_account TEXT PRIMARY KEY,
    account_sid TEXT NOT NULL,
    failing_since BIGINT NOT NULL,
    failed_at BIGINT NOT NULL,
    failures INTEGER NOT NULL,
    down_since BIGINT,
    refused SMALLINT NOT NULL,
    try_at BIGINT NOT NULL
) /*WITHOUT ROWID*/;

-- The numbers that Participants had before their Session moved to other carriers (store/moving.py). While one is active it
-- still answers its person, so the hard rule of number masking holds for it, too. sent_before: what was sent from it has
-- a lower SID. numbers.former counts the active ones of a number.
CREATE TABLE former_numbers (
    service_sid TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    participant_sid TEXT NOT NULL,
    left_at BIGINT NOT NULL,
    identifier_key TEXT NOT NULL,
    proxy_identifier TEXT NOT NULL,
    active SMALLINT NOT NULL,
    sent_before TEXT NOT NULL,
    PRIMARY KEY (service_sid, session_sid, participant_sid, left_at)
) /*WITHOUT ROWID*/;
CREATE UNIQUE INDEX former_numbers_pair ON former_numbers (service_sid, identifier_key, active, proxy_identifier)
    WHERE active = 1;
ALTER TABLE numbers ADD COLUMN former INTEGER NOT NULL DEFAULT 0;

-- Attempts by when they began: the key begins with the Service, as those of all large tables, so that they can be
-- distributed by it.
CREATE TABLE callback_attempts_in_order (
    service_sid TEXT NOT NULL,
    interaction_sid TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    callback_sid TEXT NOT NULL,
    number INTEGER NOT NULL,
    url TEXT NOT NULL,
    duration_ms BIGINT NOT NULL,
    status INTEGER,
    error TEXT NOT NULL,
    PRIMARY KEY (service_sid, interaction_sid, began_at, callback_sid)
) /*WITHOUT ROWID*/;
INSERT INTO callback_attempts_in_order (service_sid, interaction_sid, began_at, callback_sid, number, url, duration_ms,
       status, error)
SELECT service_sid, interaction_sid, began_at, callback_sid, max(number), max(url), max(duration_ms), max(status),
       max(error)
FROM callback_attempts GROUP BY service_sid, interaction_sid, began_at, callback_sid;
DROP TABLE callback_attempts;
ALTER TABLE callback_attempts_in_order RENAME TO callback_attempts;

-- The condition is written so that none on a single state implies it: PostgreSQL, whose plans are made while next to nothing
-- waits, would read this index, which is all that waits, for a row that has a better one. Statements that look for an order
-- key say `state + 0 <> 0`. Likewise `active + 0 = 1`, where Participants are not looked for by their pair.
DROP INDEX outbox_busy;
CREATE UNIQUE INDEX outbox_busy ON outbox (order_key, seq) WHERE state + 0 <> 0;

-- The carrier account that brought a message. Only that one's credentials open the media that are with it.
ALTER TABLE outbox ADD COLUMN brought_by TEXT;

-- What carriers have said of the parts of long texts that they report on one by one (store/part_receipts.py).
CREATE TABLE part_receipts (
    message_sid TEXT NOT NULL,
    carrier_id TEXT NOT NULL,
    status SMALLINT NOT NULL,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (message_sid, carrier_id)
) /*WITHOUT ROWID*/;
CREATE INDEX part_receipts_age ON part_receipts (reported_at);

-- The carrier account that may have taken a message, whichever carries its number by now: none other can tell, and
-- knows it by its key. `carrier_account` is the one that has it in hand, or whose turn it waits for.
ALTER TABLE outbox ADD COLUMN handed_to TEXT;

-- When a carrier that repeats what it has no answer for was answered. Until that must have arrived, the row stays.
ALTER TABLE received ADD COLUMN answered_at BIGINT;

-- Every message counts in its Session's row, which SQLite writes in its place. PostgreSQL writes another row; where that has
-- no room on its page, it goes elsewhere, and into each of the indexes anew. So there is room for some on each page.
/*POSTGRESQL ALTER TABLE sessions SET (fillfactor = 90)*/;
