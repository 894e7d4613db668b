-- The truth: every event that changed an order, in the order of its effect.
CREATE TABLE order_events (
    order_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    version BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    correlation_id TEXT NOT NULL,
    causation_id TEXT,
    data TEXT NOT NULL,
    PRIMARY KEY (order_id, seq)
);

-- The same, folded: what reads and lists show. Written in the transaction that writes the event.
CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL,
    items TEXT NOT NULL,
    status TEXT NOT NULL,
    total BIGINT NOT NULL,
    payment_method TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    reason TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX orders_by_age ON orders (created_at, order_id);
CREATE INDEX orders_by_customer ON orders (customer_id, created_at);
CREATE INDEX orders_by_status ON orders (status, created_at);

-- What has been placed under an idempotency key.
CREATE TABLE idempotency_keys (
    idempotency_key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    order_id TEXT NOT NULL,
    placed_at BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (placed_at);
