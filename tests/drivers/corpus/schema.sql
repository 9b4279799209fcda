-- A shop with a blog, for all libraries. Ids are dense and overlap on purpose: an author's id is also the id of some
-- post and of some tag, and the right parent column must be found all the same. Only orders have uuids.
DROP TABLE IF EXISTS authors, posts, comments, tags, post_tags, products, customers, orders, order_items, settings,
    documents, categories, jobs, events CASCADE;
CREATE TABLE authors (id serial PRIMARY KEY, name varchar(60) NOT NULL UNIQUE, bio text NOT NULL DEFAULT '');
CREATE TABLE posts (
    id serial PRIMARY KEY,
    author_id integer NOT NULL REFERENCES authors,
    title varchar(100) NOT NULL,
    views integer NOT NULL DEFAULT 0,
    published_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON posts (author_id);
CREATE TABLE comments (
    id serial PRIMARY KEY,
    post_id integer NOT NULL REFERENCES posts,
    body text NOT NULL
);
CREATE INDEX ON comments (post_id);
CREATE TABLE tags (id serial PRIMARY KEY, name varchar(30) NOT NULL UNIQUE);
CREATE TABLE post_tags (
    post_id integer NOT NULL REFERENCES posts,
    tag_id integer NOT NULL REFERENCES tags,
    PRIMARY KEY (post_id, tag_id)
);
CREATE TABLE products (id serial PRIMARY KEY, sku varchar(20) NOT NULL UNIQUE, price numeric(8, 2) NOT NULL);
CREATE TABLE customers (id uuid PRIMARY KEY, name varchar(60) NOT NULL);
CREATE TABLE orders (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES customers,
    placed_at timestamptz NOT NULL
);
CREATE TABLE order_items (
    order_id uuid NOT NULL REFERENCES orders,
    product_id integer NOT NULL REFERENCES products,
    quantity integer NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
CREATE TABLE settings (name varchar(40) PRIMARY KEY, value text NOT NULL);
CREATE TABLE documents (
    id serial PRIMARY KEY,
    author_id integer NOT NULL REFERENCES authors,
    title varchar(100) NOT NULL,
    content text NOT NULL
);
CREATE TABLE categories (id serial PRIMARY KEY, parent_id integer REFERENCES categories, name varchar(40) NOT NULL);
CREATE TABLE jobs (id serial PRIMARY KEY, state varchar(10) NOT NULL DEFAULT 'waiting', payload jsonb NOT NULL);
CREATE TABLE events (id serial PRIMARY KEY, kind varchar(10) NOT NULL, happened_at timestamptz NOT NULL);

INSERT INTO authors (name) SELECT 'author ' || n FROM generate_series(1, 12) AS n;
INSERT INTO posts (author_id, title, published_at)
    SELECT 1 + (n * 7) % 12, 'post ' || n, '2026-01-01Z'::timestamptz + n * interval '17 days'
    FROM generate_series(1, 20) AS n;
INSERT INTO comments (post_id, body) SELECT 1 + n % 20, 'comment ' || n FROM generate_series(1, 60) AS n;
INSERT INTO tags (name) SELECT 'tag ' || n FROM generate_series(1, 9) AS n;
INSERT INTO post_tags SELECT p, 1 + (p + k * 4) % 9 FROM generate_series(1, 20) AS p, generate_series(0, 1) AS k;
INSERT INTO products (sku, price) SELECT 'sku-' || n, n * 1.5 FROM generate_series(1, 15) AS n;
INSERT INTO customers SELECT md5('customer ' || n)::uuid, 'customer ' || n FROM generate_series(1, 10) AS n;
INSERT INTO orders
    SELECT md5('order ' || n)::uuid, md5('customer ' || (1 + (n * 3) % 10))::uuid, '2026-05-01Z'::timestamptz
    FROM generate_series(1, 14) AS n;
INSERT INTO order_items
    SELECT md5('order ' || o)::uuid, 1 + (o * 2 + k * 5) % 15, k + 1
    FROM generate_series(1, 14) AS o, generate_series(0, 1) AS k;
INSERT INTO settings SELECT 'setting ' || n, 'on' FROM generate_series(1, 6) AS n;
INSERT INTO documents (author_id, title, content)
    SELECT 1 + n % 4, 'document ' || n, repeat('x', 8000) FROM generate_series(1, 16) AS n;
-- A path of nine from the root down.
INSERT INTO categories (parent_id, name) SELECT nullif(n - 1, 0), 'category ' || n FROM generate_series(1, 9) AS n;
INSERT INTO jobs (payload) SELECT '{"to": "somebody"}' FROM generate_series(1, 20);
INSERT INTO events (kind, happened_at)
    SELECT (ARRAY['open', 'click', 'close'])[1 + n % 3], '2026-05-01Z'::timestamptz + n * interval '1 minute'
    FROM generate_series(1, 3000) AS n;
ANALYZE;
