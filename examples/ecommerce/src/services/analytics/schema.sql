CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    outcome TEXT,
    reason TEXT,
    total BIGINT NOT NULL
);
CREATE INDEX orders_by_age ON orders (created_at);
CREATE INDEX orders_by_end ON orders (ended_at);

CREATE TABLE order_items (
    order_id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    PRIMARY KEY (order_id, product_id)
);

-- How many events of each type there were.
CREATE TABLE event_totals (
    type TEXT PRIMARY KEY,
    total BIGINT NOT NULL
);
