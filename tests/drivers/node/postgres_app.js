// postgres.js without a framework: it prepares every statement by itself and sends what is not awaited in one go. The
// argument names the configuration.
"use strict";

const postgres = require("postgres");
const { Announcer, DATABASE_URL, comment, traceId } = require("./announce");

const MODE = process.argv[2];
const IS_TAGGED = MODE === "trace";
const sql = postgres(DATABASE_URL, {
  max: 1,
  // Its question about array types would be a statement at a time of its own choice.
  fetch_types: false,
  connection: { application_name: `postgres-${MODE}` },
});
const POSTS = "SELECT id, author_id FROM blog_post ORDER BY id LIMIT 12";
const AUTHOR = "SELECT name FROM blog_author WHERE id = $1";
let suffix = "";

const query = (text, values = [], on = sql) => on.unsafe(text + suffix, values, { prepare: true });

// 1 + N with a statement that the driver prepares once per text.
async function lazy() {
  for (const { author_id } of await query(POSTS)) await query(AUTHOR, [author_id]);
}

// 1 + N in simple queries.
async function lazySimple() {
  for (const { author_id } of await sql.unsafe(`${POSTS} OFFSET 0${suffix}`)) {
    await sql.unsafe(`SELECT name FROM blog_author WHERE id = ${author_id}${suffix}`);
  }
}

// The same statements in one go: one round trip, and so no loop.
async function pipelined() {
  const posts = await query(POSTS);
  await Promise.all(posts.map(({ author_id }) => query(AUTHOR, [author_id])));
}

// The repaired page.
async function listed() {
  const posts = await query(POSTS);
  await query("SELECT name FROM blog_author WHERE id = ANY($1::int[])", [`{${posts.map((post) => post.author_id)}}`]);
}

// A transaction.
async function create() {
  await sql.begin(async (transaction) => {
    const [{ id }] = await query("INSERT INTO blog_post (author_id, title) VALUES ($1, $2) RETURNING id", [2, "new"], transaction);
    await query("UPDATE blog_post SET title = 'newer' WHERE id = $1", [id], transaction);
  });
}

// A portal that is read five rows at a time is one statement.
async function pieces() {
  await query("SELECT id FROM blog_comment WHERE post_id > $1", [0]).cursor(5, () => {});
}

// Fails when run, and when parsed.
async function error() {
  await query("INSERT INTO blog_author (name) VALUES ('author 1')").catch(() => {});
  await query("SELECT nothing FROM blog_post WHERE id = $1", [1]).catch(() => {});
}

const COUNTED = new Map([
  [lazy, 13], [lazySimple, 13], [pipelined, 13], [listed, 2], [create, 2], [pieces, 1], [error, 1],
]);

function expectation(page, number) {
  const linked = page.name.startsWith("lazy") ? "blog_post.author_id" : null;
  if (IS_TAGGED) return { linked, level: ["trace"], route: `/${page.name}`, key: `trace:${traceId(number)}` };
  return { linked, level: ["idle", "transaction"], route: `postgres-${MODE}`, needs_gap: true };
}

async function main() {
  const announcer = await new Announcer().open();
  await announcer.request("warm-up", { only_total: true, needs_gap: true }, () => query("SELECT count(*) FROM blog_post"));
  for (const [page, counted] of COUNTED) {
    const number = announcer.number + 1;
    if (IS_TAGGED) suffix = ` ${comment(number, `/${page.name}`)}`;
    await announcer.request(page.name, { counted, ...expectation(page, number) }, page);
  }
  await sql.end();
  await announcer.close();
}

main();
