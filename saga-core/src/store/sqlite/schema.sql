-- Messages that a service has handled.
CREATE TABLE sagas_inbox (
    service TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (service, source, id)
) WITHOUT ROWID;
CREATE INDEX sagas_inbox_by_age ON sagas_inbox (service, at);

-- Records that wait to be published. AUTOINCREMENT: an id is never given twice.
CREATE TABLE sagas_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    topic TEXT NOT NULL,
    key BLOB,
    value BLOB,
    headers BLOB NOT NULL,
    timestamp INTEGER NOT NULL
);
CREATE INDEX sagas_outbox_by_service ON sagas_outbox (service, id);

-- Messages that wait for their next attempt, and behind them. `key` is what they are parked under, `record_key` what they
-- came with.
CREATE TABLE sagas_parked (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    key BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    due INTEGER NOT NULL,
    error TEXT NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    record_key BLOB,
    value BLOB,
    headers BLOB NOT NULL,
    timestamp INTEGER NOT NULL
);
CREATE INDEX sagas_parked_by_key ON sagas_parked (service, topic, key, id);

-- Messages that were given up.
CREATE TABLE sagas_dead_letters (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    id TEXT NOT NULL,
    event_type TEXT,
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    at INTEGER NOT NULL,
    state TEXT NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    record_key BLOB,
    value BLOB,
    headers BLOB NOT NULL,
    timestamp INTEGER NOT NULL,
    UNIQUE (service, id)
);
CREATE INDEX sagas_dead_letters_by_state ON sagas_dead_letters (service, state, place);

-- What a service did in which saga instance.
CREATE TABLE sagas_steps (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    saga_id TEXT NOT NULL,
    step TEXT NOT NULL,
    message_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    refused INTEGER NOT NULL,
    published TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX sagas_steps_by_saga ON sagas_steps (service, saga_id, place);

-- One row, which the check of the database writes.
CREATE TABLE sagas_health (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    beats INTEGER NOT NULL
);
INSERT INTO sagas_health (id, beats) VALUES (1, 0);
