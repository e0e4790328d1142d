-- Callbacks wait in the outbox in the lane of their Service, and those that were given up stay there (state 6).
CREATE INDEX outbox_callbacks ON outbox (service_sid, due_at) WHERE topic = 'callback' AND state = 1;
CREATE INDEX outbox_dead ON outbox (service_sid, message_sid) WHERE state = 6;

-- Every attempt to tell a customer something, until its Interaction goes. The address is without query and credentials.
CREATE TABLE callback_attempts (
    id INTEGER PRIMARY KEY,
    service_sid TEXT NOT NULL,
    interaction_sid TEXT NOT NULL,
    callback_sid TEXT NOT NULL,
    number INTEGER NOT NULL,
    url TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    status INTEGER,
    error TEXT NOT NULL
);
CREATE INDEX callback_attempts_interaction ON callback_attempts (service_sid, interaction_sid, id);
