-- How far each order is, as far as is known here, and which of its events were heard, a bit for each.
CREATE TABLE order_progress (
    order_id TEXT PRIMARY KEY,
    heard BIGINT NOT NULL,
    status TEXT NOT NULL
);
-- Of the orders that are known already, what is known of them.
INSERT INTO order_progress (order_id, heard, status)
SELECT order_id,
    CASE outcome WHEN 'COMPLETED' THEN 65 WHEN 'CANCELLED' THEN 129 ELSE 1 END,
    CASE outcome WHEN 'COMPLETED' THEN 'COMPLETED' WHEN 'CANCELLED' THEN 'CANCELLED' ELSE 'CREATED' END
FROM orders;

-- The latest changes of orders, at positions 1, 2, 3 and so on without a gap.
CREATE TABLE order_changes (
    position BIGINT PRIMARY KEY,
    order_id TEXT NOT NULL,
    status TEXT NOT NULL,
    changed_by TEXT NOT NULL,
    event_id TEXT NOT NULL,
    at BIGINT NOT NULL
);

-- The one row: the name of these changes, and the position of the last of them.
CREATE TABLE change_log (
    one BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    last BIGINT NOT NULL
);
