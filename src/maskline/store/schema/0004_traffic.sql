-- What asks customers' servers waits in the lane of its Service, each topic apart.
DROP INDEX outbox_callbacks;
CREATE INDEX outbox_lanes ON outbox (topic, service_sid, due_at) WHERE state = 1 AND topic <> 'send';

-- Bodies that are kept only until their message is over (`store_bodies`), and when at the latest they are blanked, however
-- far their message is known to be then.
CREATE TABLE passing_bodies (
    service_sid TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    interaction_sid TEXT NOT NULL,
    blank_at BIGINT NOT NULL,
    PRIMARY KEY (service_sid, interaction_sid)
) /*WITHOUT ROWID*/;
CREATE INDEX passing_bodies_blank ON passing_bodies (blank_at);

-- Webhooks are signed with an account's token, the previous one too while it is good; a digest cannot check that. Of a
-- token that was rotated before this there is no sealed one.
ALTER TABLE accounts ADD COLUMN previous_sealed TEXT;

-- How fast a sender writes to a proxy number, where the Service limits it (`pair_limit`): when messages of the last 30
-- seconds were taken, as a JSON list of instants, and until when none is.
CREATE TABLE paces (
    service_sid TEXT NOT NULL,
    identifier_key TEXT NOT NULL,
    proxy_number TEXT NOT NULL,
    taken TEXT NOT NULL,
    refused_until BIGINT NOT NULL,
    forget_at BIGINT NOT NULL,
    PRIMARY KEY (service_sid, identifier_key, proxy_number)
) /*WITHOUT ROWID*/;
CREATE INDEX paces_forget ON paces (forget_at);

-- Events by whom they are of, from the widest to the narrowest; among those by kind, each kind in the order of SIDs. A
-- list that asks for a level or a code reads the kinds it wants, any other puts all of them together (store/events.py).
DROP INDEX events_account;
CREATE INDEX events_account ON events (account_sid, level, code, sid);
CREATE INDEX events_service ON events (service_sid, level, code, sid) WHERE service_sid IS NOT NULL;
CREATE INDEX events_session ON events (session_sid, level, code, sid) WHERE session_sid IS NOT NULL;
CREATE INDEX events_interaction ON events (interaction_sid, level, code, sid) WHERE interaction_sid IS NOT NULL;

-- Where an account wants its events sent, and which events wait for that: marked with the account whose webhook it is, so
-- that none is passed over that is committed later than one with a greater SID.
ALTER TABLE accounts ADD COLUMN events_url TEXT;
ALTER TABLE events ADD COLUMN told_to TEXT;
CREATE INDEX events_told ON events (told_to, sid) WHERE told_to IS NOT NULL;

-- Who has opted out of a Service's messages: of those from one proxy number, or of all ('' for the number). A person is
-- found by the keyed hash alone, which outlives what is known of them; the identifier is only shown, until it is erased.
CREATE TABLE optouts (
    service_sid TEXT NOT NULL,
    identifier_hash TEXT NOT NULL,
    proxy_number TEXT NOT NULL,
    sid TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    identifier TEXT,
    source TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (service_sid, identifier_hash, proxy_number)
) /*WITHOUT ROWID*/;
CREATE UNIQUE INDEX optouts_list ON optouts (service_sid, sid);
CREATE INDEX optouts_of_person ON optouts (service_sid, identifier_hash, sid);
CREATE INDEX optouts_of_number ON optouts (service_sid, proxy_number, sid);

-- Why a message has failed, where Twilio has a number for it.
ALTER TABLE interactions ADD COLUMN error_code INTEGER;

-- A stranger's message and the answers to it belong to no Session: their session_sid is empty, and so is that of the one
-- participant that each has. The first index finds the Sessions that somebody was in on a number, the second those messages.
-- The last two ask for its length: SQLite holds `session_sid = ''` against `session_sid = ?`, and would compile each
-- statement that says so anew for each value that it is given, which takes several times as long as to run it.
CREATE INDEX participants_past ON participants (service_sid, identifier_key, proxy_identifier, sid)
    WHERE active = 0 AND session_sid <> '';
CREATE INDEX participants_loose ON participants (service_sid, identifier_key, proxy_identifier, sid)
    WHERE length(session_sid) = 0;
CREATE INDEX interactions_loose ON interactions (sid) WHERE length(session_sid) = 0;

-- Calls by their carrier's name for them, while they run and for a week after: one that comes in again is no new one.
-- state: 0 not routed (yet), 1 its Interaction waits for a verdict, 2 the partner is dialled, 3 ended. accepts: 1 while
-- the partner still has to press a key. due_at: when it has been silent for too long, or is forgotten.
CREATE TABLE calls (
    carrier_key TEXT PRIMARY KEY,
    account_sid TEXT NOT NULL,
    service_sid TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    interaction_sid TEXT NOT NULL,
    state SMALLINT NOT NULL,
    entries INTEGER NOT NULL,
    accepts SMALLINT NOT NULL,
    answered_at BIGINT,
    due_at BIGINT NOT NULL
) /*WITHOUT ROWID*/;
CREATE INDEX calls_interaction ON calls (service_sid, interaction_sid);
CREATE INDEX calls_due ON calls (due_at);

-- The sandbox's books of calls: legs and verbs are JSON.
CREATE TABLE sandbox_calls (
    account_sid TEXT NOT NULL,
    sid TEXT NOT NULL,
    from_number TEXT NOT NULL,
    to_number TEXT NOT NULL,
    status TEXT NOT NULL,
    duration_s INTEGER NOT NULL,
    legs TEXT NOT NULL,
    verbs TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_sid, sid)
) /*WITHOUT ROWID*/;

-- People who are being erased (`store/erasure.py`): a row for the person, and one for each Participant that they were; how
-- far each is, and where its walk stopped.
CREATE TABLE erasures (
    service_sid TEXT NOT NULL,
    identifier_key TEXT NOT NULL,
    session_sid TEXT NOT NULL,
    participant_sid TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    stage SMALLINT NOT NULL,
    after TEXT NOT NULL,
    PRIMARY KEY (service_sid, identifier_key, session_sid, participant_sid)
) /*WITHOUT ROWID*/;
CREATE INDEX erasures_next ON erasures (stage, service_sid);

-- The processes that have this database, where more than one may: a row a run. seen_at: when it last wrote; round counts
-- its transactions, and tells whether one was committed whose end nobody saw. The embedded database has none of them.
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    seen_at BIGINT NOT NULL,
    round BIGINT NOT NULL
) /*WITHOUT ROWID*/;
