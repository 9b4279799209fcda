-- One of everything that hides a read or a write.
CREATE SCHEMA shop;
CREATE SCHEMA other;
CREATE TABLE products (id int PRIMARY KEY, name text, price int);
CREATE TABLE other.products (id int);
CREATE TABLE lines (id int PRIMARY KEY, product_id int REFERENCES products ON DELETE CASCADE, n int);
CREATE TABLE notes (id int, line_id int REFERENCES lines ON UPDATE SET NULL);
CREATE TABLE strict_lines (product_id int REFERENCES products);
CREATE VIEW cheap AS SELECT id, name FROM products WHERE price < 10;
CREATE VIEW cheapest AS SELECT id FROM cheap;
CREATE VIEW recent AS SELECT id FROM products WHERE price > extract(year FROM now());
CREATE VIEW since AS SELECT id FROM products WHERE price::text > 'today'::text;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM products;
CREATE TABLE events (day date) PARTITION BY RANGE (day);
CREATE TABLE events_may PARTITION OF events FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
CREATE TABLE events_june PARTITION OF events FOR VALUES FROM ('2026-06-01') TO ('2026-07-01');
CREATE TABLE animals (id int);
CREATE TABLE dogs (breed text) INHERITS (animals);
CREATE TABLE audit (what text);
CREATE TABLE counters (n int);
CREATE TABLE touched (id int, updated_at timestamptz);
CREATE TABLE watched (id int);
CREATE TABLE mystery (id int);
CREATE TABLE ruled (id int);
CREATE TABLE numbered (id int);
CREATE TABLE checked (id int);
CREATE TABLE secrets (owner name);
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE VIEW seen_secrets AS SELECT owner FROM secrets;
CREATE UNLOGGED TABLE fast (id int);
CREATE SEQUENCE ids;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO audit (what) VALUES (TG_TABLE_NAME); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION note();
CREATE FUNCTION obscure() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN EXECUTE 'DELETE FROM audit'; RETURN NULL; END $$;
CREATE TRIGGER obscure AFTER INSERT ON mystery FOR EACH ROW EXECUTE FUNCTION obscure();
CREATE RULE log AS ON INSERT TO ruled DO ALSO INSERT INTO audit VALUES ('ruled');
CREATE FUNCTION next_number() RETURNS int LANGUAGE sql AS 'UPDATE counters SET n = n + 1 RETURNING n';
ALTER TABLE numbered ALTER id SET DEFAULT next_number();
CREATE FUNCTION is_fine(int) RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO audit VALUES ('checked'); RETURN true; END $$;
ALTER TABLE checked ADD CHECK (is_fine(id));
CREATE FUNCTION pure(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1';
CREATE FUNCTION looks() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM products';
CREATE FUNCTION label(products) RETURNS text LANGUAGE sql AS 'INSERT INTO audit VALUES ($1.name) RETURNING what';
CREATE FUNCTION odd_plus(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE OPERATOR <+> (FUNCTION = odd_plus, LEFTARG = text, RIGHTARG = text);
CREATE PROCEDURE tidy() LANGUAGE sql AS 'DELETE FROM audit';
CREATE VIEW nosy AS SELECT next_number() AS n;
CREATE ROLE inspector LOGIN;
