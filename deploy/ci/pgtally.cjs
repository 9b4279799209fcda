// For pgtally, every test is a request of its own: node:test, Jest, or any other runner, with node-postgres.
//
//   const pgtally = require('./pgtally.cjs');
//   const pool = pgtally.watch(new Pool());
//
//   beforeEach((t) => pgtally.name(t.name));                                      // node:test
//   beforeEach(() => pgtally.name(expect.getState().currentTestName));            // Jest
//   afterEach(() => pgtally.name(''));
//
// Tests that run at the same time in one process share a name; those of several files do not, as each file is a
// process. PostgreSQL accepts the setting without pgtally, too.
'use strict';

let current = '';

/** Names the request of what runs from here on; an empty name ends it. */
function name(test) {
  // A comma would end the name.
  const clean = (test ?? '').replaceAll(',', ';');
  current = clean && `route=${clean},id=${clean}`;
}

/** Tells PostgreSQL the name whenever somebody takes a client from the pool. */
function watch(pool) {
  pool.on('acquire', (client) => {
    // Queries of a client run in the order in which they were asked, so this one is first.
    client.query(`SET pgtally.request = '${current.replaceAll("'", "''")}'`).catch(() => {});
  });
  return pool;
}

module.exports = { name, watch };
