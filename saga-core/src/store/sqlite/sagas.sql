-- What was kept of steps before they had a state.
DROP TABLE sagas_steps;

-- What a service did at the steps of the instances it takes part in.
CREATE TABLE sagas_steps (
    service TEXT NOT NULL,
    saga TEXT NOT NULL,
    id TEXT NOT NULL,
    step TEXT NOT NULL,
    state TEXT NOT NULL,
    record TEXT,
    message_id TEXT NOT NULL,
    until INTEGER,
    at INTEGER NOT NULL,
    PRIMARY KEY (service, saga, id, step)
) WITHOUT ROWID;
CREATE INDEX sagas_steps_by_age ON sagas_steps (service, at);

-- Instances of the flows that a service tracks. Most have ended, and few of the others wait for a timer or for somebody, so
-- what asks for those has an index of its own, which they leave. The open one answers without the table when it is counted.
CREATE TABLE sagas_instances (
    service TEXT NOT NULL,
    saga TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    attention TEXT,
    due INTEGER,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER,
    body TEXT NOT NULL,
    PRIMARY KEY (service, saga, id)
);
CREATE INDEX sagas_instances_newest ON sagas_instances (service, started_at DESC, saga, id);
CREATE INDEX sagas_instances_due ON sagas_instances (service, due, saga, id) WHERE due IS NOT NULL;
CREATE INDEX sagas_instances_open ON sagas_instances (service, updated_at, saga, id, version, ended_at) WHERE ended_at IS NULL;
CREATE INDEX sagas_instances_ended ON sagas_instances (service, ended_at, saga, id) WHERE ended_at IS NOT NULL;
CREATE INDEX sagas_instances_attention ON sagas_instances (service, saga) WHERE attention IS NOT NULL;

-- What happened to them, in the order in which it was taken in.
CREATE TABLE sagas_history (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    service TEXT NOT NULL,
    saga TEXT NOT NULL,
    id TEXT NOT NULL,
    event TEXT NOT NULL,
    message_id TEXT NOT NULL,
    causation_id TEXT,
    source TEXT NOT NULL,
    at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    note TEXT
);
CREATE INDEX sagas_history_by_instance ON sagas_history (service, saga, id, place);

-- The flows, for whoever reads the database without the program.
CREATE TABLE sagas_definitions (
    service TEXT NOT NULL,
    saga TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (service, saga, version)
);
