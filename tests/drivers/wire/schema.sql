-- What the scripts of the wire test read. Nothing here may depend on the time or on chance.
CREATE TABLE IF NOT EXISTS wire (
    id int PRIMARY KEY, tiny smallint, big bigint, ratio float8, price numeric(12, 3), flag boolean, name text,
    data bytea, day date, moment timestamptz, span interval, key uuid, facts jsonb, tags text[]
);
TRUNCATE wire;
INSERT INTO wire
SELECT n, n, n * 10000000000, n / 7.0, n / 8.0, n % 2 = 0, CASE WHEN n % 5 = 0 THEN NULL ELSE 'naïve ' || n END,
    decode(lpad(to_hex(n), 8, '0'), 'hex'), date '2024-02-28' + n, timestamptz '2024-02-29 12:00:00+00' + n * interval '1 hour',
    n * interval '90 minutes', lpad(n::text, 32, '0')::uuid, jsonb_build_object('n', n), ARRAY['a' || n, NULL, 'b"c']
FROM generate_series(1, 200) AS n;
CREATE TABLE IF NOT EXISTS wire_written (id int PRIMARY KEY, name text);
TRUNCATE wire_written;
