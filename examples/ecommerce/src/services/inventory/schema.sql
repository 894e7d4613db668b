-- available + reserved + sold = initial + restocked, always.
CREATE TABLE products (
    product_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    price BIGINT NOT NULL,
    available BIGINT NOT NULL CHECK (available >= 0),
    reserved BIGINT NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    sold BIGINT NOT NULL DEFAULT 0 CHECK (sold >= 0),
    initial BIGINT NOT NULL,
    restocked BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

-- What was decided about an order: the second event that asks for it is told by this row.
CREATE TABLE decisions (
    order_id TEXT PRIMARY KEY,
    granted BIGINT NOT NULL
);

CREATE TABLE reservations (
    reservation_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (order_id, product_id)
);
CREATE INDEX reservations_by_age ON reservations (created_at, reservation_id);

-- One row, which whoever moves units locks first: a transaction moves the units of many orders, in no common order of the
-- products, and two of them would wait for each other.
CREATE TABLE stock_lock (
    id TEXT PRIMARY KEY
);
INSERT INTO stock_lock (id) VALUES ('stock');
