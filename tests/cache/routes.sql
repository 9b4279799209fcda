CREATE TABLE items (id int NOT NULL, version bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE items_low PARTITION OF items FOR VALUES FROM (0) TO (1000);
CREATE TABLE items_high PARTITION OF items FOR VALUES FROM (1000) TO (2000);
CREATE INDEX ON items (id, version);
CREATE TABLE copies (id int PRIMARY KEY, version bigint NOT NULL);
CREATE TABLE sources (id int PRIMARY KEY, version bigint NOT NULL);
CREATE TABLE parents (id int NOT NULL, version bigint NOT NULL, PRIMARY KEY (id, version));
CREATE TABLE children (id int NOT NULL, version bigint NOT NULL,
    FOREIGN KEY (id, version) REFERENCES parents ON UPDATE CASCADE);
CREATE VIEW seen_items AS SELECT id, version FROM items;
CREATE VIEW registers AS
    SELECT id, version FROM items
    UNION ALL SELECT id, version FROM copies
    UNION ALL SELECT id, version FROM children;
CREATE FUNCTION copy_version() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN UPDATE copies SET version = NEW.version WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER copy_version AFTER UPDATE ON sources FOR EACH ROW EXECUTE FUNCTION copy_version();
CREATE FUNCTION set_version(int, bigint) RETURNS bigint LANGUAGE sql AS
    'UPDATE items SET version = $2 WHERE id = $1 RETURNING version';
CREATE PROCEDURE set_version_and_commit(int, bigint) LANGUAGE plpgsql AS $$
    BEGIN UPDATE items SET version = $2 WHERE id = $1; COMMIT; PERFORM 1; END $$;
CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL);
CREATE ROLE visitor;
INSERT INTO accounts SELECT id, 100 FROM generate_series(0, 9) AS id;
INSERT INTO items SELECT id, 0 FROM generate_series(0, 99) AS id;
INSERT INTO copies SELECT id, 0 FROM generate_series(0, 99) AS id;
INSERT INTO sources SELECT id, 0 FROM generate_series(0, 99) AS id;
INSERT INTO parents SELECT id, 0 FROM generate_series(0, 99) AS id;
INSERT INTO children SELECT id, 0 FROM generate_series(0, 99) AS id;
