// The same list with and without a list of keys, on a pool that outlives its tests.
'use strict';

const { Pool } = require('pg');
const pgtally = require(process.env.PGTALLY_SNIPPET);

const pool = pgtally.watch(new Pool({ connectionString: process.env.DATABASE_URL, max: 2 }));

beforeEach(() => pgtally.name(expect.getState().currentTestName));
afterEach(() => pgtally.name(''));
afterAll(() => pool.end());

describe('blog', () => {
  test('one by one', async () => {
    const posts = await pool.query('SELECT id, author_id FROM posts ORDER BY id');
    for (const post of posts.rows) {
      await pool.query('SELECT name FROM authors WHERE id = $1', [post.author_id]);
    }
    expect(posts.rows.length).toBeGreaterThan(1);
  });

  test("at once, it's better", async () => {
    const posts = await pool.query('SELECT id, author_id FROM posts ORDER BY id');
    await pool.query('SELECT name FROM authors WHERE id = ANY($1)', [posts.rows.map((post) => post.author_id)]);
  });
});
