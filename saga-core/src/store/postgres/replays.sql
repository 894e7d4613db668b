-- Ranges of partitions that are read once more, because an operator wants it. One at a time of each partition.
CREATE TABLE sagas_replays (
    service TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    topic TEXT COLLATE "C" NOT NULL,
    "partition" INTEGER NOT NULL,
    from_offset BIGINT,
    from_time BIGINT,
    to_offset BIGINT,
    to_time BIGINT,
    most BIGINT NOT NULL,
    again BOOLEAN NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    asked_by TEXT COLLATE "C" NOT NULL,
    asked_at BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    resume BIGINT,
    ended_at BIGINT,
    detail TEXT COLLATE "C",
    PRIMARY KEY (service, id)
);
CREATE UNIQUE INDEX sagas_replays_open ON sagas_replays (service, topic, "partition") WHERE ended_at IS NULL;
