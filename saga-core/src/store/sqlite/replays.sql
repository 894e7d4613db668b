-- Ranges of partitions that are read once more, because an operator wants it. One at a time of each partition.
CREATE TABLE sagas_replays (
    service TEXT NOT NULL,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    from_offset INTEGER,
    from_time INTEGER,
    to_offset INTEGER,
    to_time INTEGER,
    most INTEGER NOT NULL,
    again INTEGER NOT NULL,
    reason TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    resume INTEGER,
    ended_at INTEGER,
    detail TEXT,
    PRIMARY KEY (service, id)
);
CREATE UNIQUE INDEX sagas_replays_open ON sagas_replays (service, topic, "partition") WHERE ended_at IS NULL;
