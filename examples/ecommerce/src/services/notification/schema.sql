-- Who placed which order: most events do not say it.
CREATE TABLE customers (
    order_id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL
);

CREATE TABLE notifications (
    notification_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    channel TEXT NOT NULL,
    message TEXT NOT NULL,
    status TEXT NOT NULL,
    at BIGINT NOT NULL,
    UNIQUE (order_id, kind)
);
CREATE INDEX notifications_by_age ON notifications (at, notification_id);
CREATE INDEX notifications_by_customer ON notifications (customer_id, at);
