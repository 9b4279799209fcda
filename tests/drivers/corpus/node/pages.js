// Runs a library's pages, each on connections of their own whose startup options name their request.
"use strict";

const address = new URL(process.env.DATABASE_URL);

// `open()` gives what a page needs, `close(it)` ends it. node-postgres reads PGOPTIONS when it connects.
async function run(library, pages, open, close) {
  for (const [page, body] of Object.entries(pages)) {
    const name = `${library}.${page}`;
    process.env.PGOPTIONS = `-c pgtally.request=route=${name},id=${name}`;
    console.log(name);
    const opened = await open();
    await body(opened);
    await close(opened);
  }
}

const fail = (error) => {
  console.error(error);
  process.exit(1);
};

const count = (length) => Array.from({ length }, (_, index) => index + 1);

module.exports = { address, count, fail, run, url: process.env.DATABASE_URL };
