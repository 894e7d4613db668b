-- A customer's orders of one status, counted without looking at those of others.
DROP INDEX orders_by_customer;
CREATE INDEX orders_by_customer ON orders (customer_id, status, created_at);
