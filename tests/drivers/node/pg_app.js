// node-postgres without a framework: simple, unnamed and named statements, portals read in pieces, a pool whose
// requests spread over its connections. The argument names the configuration.
"use strict";

const { Pool } = require("pg");
const Cursor = require("pg-cursor");
const { Announcer, DATABASE_URL, comment, traceId } = require("./announce");

const MODE = process.argv[2];
const IS_TAGGED = MODE.startsWith("trace");
const pool = new Pool({
  connectionString: DATABASE_URL,
  application_name: `pg-${MODE}`,
  max: MODE === "trace-pool" ? 3 : 1,
});
const POSTS = "SELECT id, author_id FROM blog_post ORDER BY id LIMIT 12";
let suffix = "";

const query = (text, values) => pool.query(text + suffix, values);
const repeated = async (rows, run) => {
  for (const row of rows) await run(row);
};

// 1 + N in simple queries.
async function lazySimple() {
  const { rows } = await query(POSTS);
  await repeated(rows, (post) => query(`SELECT name FROM blog_author WHERE id = ${post.author_id}`));
}

// 1 + N with parameters, which node-postgres sends as text.
async function lazyUnnamed() {
  const { rows } = await query(`${POSTS} OFFSET 0`);
  await repeated(rows, (post) => query("SELECT name FROM blog_author WHERE id = $1", [post.author_id]));
}

// 1 + N with a named statement: prepared once per connection, its comment is that of its first use.
async function lazyNamed() {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const { rows } = await client.query(`${POSTS} OFFSET $1${suffix}`, [0]);
    const text = `SELECT id, name FROM blog_author WHERE id = $1${suffix}`;
    await repeated(rows, (post) => client.query({ name: "author", text, values: [post.author_id] }));
    await client.query("COMMIT");
  } finally {
    client.release();
  }
}

// The repaired page.
async function listed() {
  const { rows } = await query(POSTS);
  await query("SELECT name FROM blog_author WHERE id = ANY($1)", [rows.map((post) => post.author_id)]);
}

// All at once, on as many connections as the pool has; with one connection they wait for each other.
async function together() {
  const ids = [1, 2, 3, 4];
  await Promise.all(ids.map((id) => query("SELECT title FROM blog_post WHERE id = $1", [id])));
}

// A transaction.
async function create() {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const text = `INSERT INTO blog_post (author_id, title) VALUES ($1, $2) RETURNING id${suffix}`;
    const { rows } = await client.query(text, [2, "new"]);
    await client.query(`UPDATE blog_post SET title = 'newer' WHERE id = $1${suffix}`, [rows[0].id]);
    await client.query("COMMIT");
  } finally {
    client.release();
  }
}

// A portal that is read five rows at a time is one statement.
async function pieces() {
  const client = await pool.connect();
  try {
    const cursor = client.query(new Cursor(`SELECT id FROM blog_comment WHERE post_id > $1${suffix}`, [0]));
    while ((await cursor.read(5)).length > 0);
    await cursor.close();
  } finally {
    client.release();
  }
}

// Fails when run, and when parsed.
async function error() {
  const texts = ["INSERT INTO blog_author (name) VALUES ('author 1')", "SELECT nothing FROM blog_post WHERE id = $1"];
  await query(texts[0]).catch(() => {});
  await query(texts[1], [1]).catch(() => {});
}

const COUNTED = new Map([
  [lazySimple, 13], [lazyUnnamed, 13], [lazyNamed, 13], [listed, 2], [together, 4], [create, 2], [pieces, 1], [error, 1],
]);

function expectation(page, number) {
  const linked = page.name.startsWith("lazy") ? "blog_post.author_id" : null;
  if (IS_TAGGED) return { linked, level: ["trace"], route: `/${page.name}`, key: `trace:${traceId(number)}` };
  return { linked, level: ["idle", "transaction"], route: `pg-${MODE}`, needs_gap: true };
}

async function main() {
  const announcer = await new Announcer().open();
  const warmUp = () => Promise.all(Array.from({ length: pool.options.max }, () => query("SELECT count(*) FROM blog_post")));
  await announcer.request("warm-up", { only_total: true, needs_gap: true }, warmUp);
  for (const [page, counted] of COUNTED) {
    const number = announcer.number + 1;
    if (IS_TAGGED) suffix = ` ${comment(number, `/${page.name}`)}`;
    await announcer.request(page.name, { counted, ...expectation(page, number) }, page);
  }
  await pool.end();
  await announcer.close();
}

main();
