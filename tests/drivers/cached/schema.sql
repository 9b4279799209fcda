DROP TABLE IF EXISTS cached_product;
CREATE TABLE cached_product (
    id integer PRIMARY KEY,
    name text NOT NULL,
    price numeric(10, 2) NOT NULL,
    added timestamptz NOT NULL,
    labels text[] NOT NULL,
    details jsonb,
    picture bytea
);
INSERT INTO cached_product
    SELECT n, 'product ' || n, n * 1.25, '2026-01-01 12:00+00'::timestamptz + n * interval '1 hour',
        ARRAY['a', 'n' || n], CASE WHEN n % 3 > 0 THEN jsonb_build_object('n', n) END, decode(lpad(to_hex(n), 4, '0'), 'hex')
    FROM generate_series(1, 50) AS n;
