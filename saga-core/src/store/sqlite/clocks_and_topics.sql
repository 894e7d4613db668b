-- The clock of a service: the last time that it noted, how far that was from the database's clock, and the stops whose length is not
-- believed.
CREATE TABLE sagas_clock (
    service TEXT NOT NULL PRIMARY KEY,
    seen INTEGER NOT NULL,
    ahead INTEGER NOT NULL,
    stops TEXT NOT NULL
) WITHOUT ROWID;

-- How many partitions a topic has, and whether it has had another number: then messages of a key may be in several of them.
CREATE TABLE sagas_topics (
    service TEXT NOT NULL,
    topic TEXT NOT NULL,
    partitions INTEGER NOT NULL,
    moved INTEGER NOT NULL,
    PRIMARY KEY (service, topic)
) WITHOUT ROWID;
