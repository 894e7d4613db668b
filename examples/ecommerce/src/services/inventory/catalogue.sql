-- What the shop sells on its first day.
INSERT INTO products (product_id, name, price, available, initial, created_at) VALUES
    ('tea', 'Tea', 990, 1000, 1000, 6),
    ('coffee', 'Coffee', 1450, 1000, 1000, 5),
    ('mug', 'Mug', 725, 500, 500, 4),
    ('teapot', 'Teapot', 4900, 50, 50, 3),
    ('last-one', 'The last one', 9900, 1, 1, 2),
    ('sold-out', 'Sold out', 1900, 0, 0, 1);
