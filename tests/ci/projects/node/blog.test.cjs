// The same list with and without a list of keys, on a pool that outlives its tests.
'use strict';

const { test, beforeEach, afterEach, after } = require('node:test');
const assert = require('node:assert');
const { Pool } = require('pg');
const pgtally = require(process.env.PGTALLY_SNIPPET);

const pool = pgtally.watch(new Pool({ connectionString: process.env.DATABASE_URL, max: 2 }));

beforeEach((t) => pgtally.name(t.name));
afterEach(() => pgtally.name(''));
after(() => pool.end());

test('one by one', async () => {
  const posts = await pool.query('SELECT id, author_id FROM posts ORDER BY id');
  for (const post of posts.rows) {
    await pool.query('SELECT name FROM authors WHERE id = $1', [post.author_id]);
  }
  assert.ok(posts.rows.length > 1);
});

test("at once, it's better", async () => {
  const posts = await pool.query('SELECT id, author_id FROM posts ORDER BY id');
  await pool.query('SELECT name FROM authors WHERE id = ANY($1)', [posts.rows.map((post) => post.author_id)]);
});
