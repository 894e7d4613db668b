-- Who reads a partition (the epoch rises each time that one takes it over), and how far its records are applied.
CREATE TABLE sagas_partitions (
    service TEXT NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    applied INTEGER,
    PRIMARY KEY (service, topic, "partition")
) WITHOUT ROWID;
