-- The clock of a service: the last time that it noted, how far that was from the database's clock, and the stops whose length is not
-- believed.
CREATE TABLE sagas_clock (
    service TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seen BIGINT NOT NULL,
    ahead BIGINT NOT NULL,
    stops TEXT NOT NULL
);

-- How many partitions a topic has, and whether it has had another number: then messages of a key may be in several of them.
CREATE TABLE sagas_topics (
    service TEXT COLLATE "C" NOT NULL,
    topic TEXT COLLATE "C" NOT NULL,
    partitions INTEGER NOT NULL,
    moved BOOLEAN NOT NULL,
    PRIMARY KEY (service, topic)
);
