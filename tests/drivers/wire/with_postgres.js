// Everything postgres.js has, which pipelines by itself: parameters, cursors, COPY, transactions, notifications.
"use strict";

// It names its prepared statements by chance.
let seed = 1;
Math.random = () => {
  seed = (seed * 48271) % 2147483647;
  return seed / 2147483647;
};

const { Readable } = require("node:stream");
const { pipeline } = require("node:stream/promises");
const postgres = require("postgres");

const SERVER = { host: "127.0.0.1", port: Number(process.env.PORT), user: "postgres", database: "postgres", max: 1 };
const print = (value) => console.log(JSON.stringify(value));
const attempt = (work) => work.then(
  () => print("no error"),
  ({ code, message, position, routine }) => print({ code, message, position, routine }),
);

async function statements(sql) {
  print(await sql`SELECT * FROM wire WHERE id <= ${6} ORDER BY id`);
  print(await sql.unsafe("SELECT 1 AS a; SELECT name FROM wire WHERE id = 2"));
  print(await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((id) => sql`SELECT name FROM wire WHERE id = ${id}`)));
  print((await sql`SELECT repeat('z', 2000000) AS z`)[0].z.length);
  print(await sql`SELECT length(${"y".repeat(2000000)})`);
  print(await sql`SELECT name FROM wire WHERE id IN ${sql([1, 5, 9])} ORDER BY id`);
  print((await sql`SELECT facts, tags FROM wire WHERE facts = ${sql.json({ n: 3 })}`.describe()).types);
  print((await sql`SELECT data FROM wire WHERE id = 1`.raw())[0].map((column) => column.toString()));
}

async function transactions(sql) {
  const given = sql.begin(async (transaction) => {
    await transaction`INSERT INTO wire_written ${transaction([{ id: 1, name: "one" }, { id: 2, name: "two" }])}`;
    await attempt(transaction.savepoint((inner) => inner`INSERT INTO wire_written VALUES (1, 'again')`));
    const seen = [];
    await transaction`SELECT id FROM wire ORDER BY id`.cursor(60, (rows) => void seen.push(rows.length));
    print(seen);
    await transaction`SELECT id FROM wire ORDER BY id`.forEach(({ id }) => id > 198 && print(id));
    print(await transaction`SELECT * FROM wire_written ORDER BY id`);
    throw new Error("taken back");
  });
  await attempt(given);
}

async function copies(sql) {
  const rows = Array.from({ length: 2000 }, (_, id) => `${id}\trow ${id}\n`);
  await pipeline(Readable.from(rows), await sql`COPY wire_written FROM STDIN`.writable());
  let bytes = 0;
  // More than its stream buffers would make it pause its socket, and nothing wakes it behind the last row.
  for await (const chunk of await sql`COPY (SELECT * FROM wire_written LIMIT 300) TO STDOUT`.readable()) bytes += chunk.length;
  print(bytes);
  await sql`TRUNCATE wire_written`;
}

async function messages(sql) {
  await sql`DO $$ BEGIN RAISE NOTICE 'look'; END $$`;
  let done;
  const heard = new Promise((resolve) => { done = resolve; });
  // A connection of its own.
  await sql.listen("mail", (payload) => done(payload));
  await sql.notify("mail", "hello");
  print(await heard);
  await attempt(sql`SELECT nothing FROM wire`);
  await attempt(sql`SELEKT`);
  await attempt(sql`SELECT 1 / (id - id) FROM wire WHERE id = ${1}`);
}

async function main() {
  const connection = { application_name: "wire" };
  const sql = postgres({ ...SERVER, connection, onnotice: ({ severity, message }) => print([severity, message]) });
  for (const part of [statements, transactions, copies, messages]) await part(sql);
  await sql.end();
  for (const wrong of [{ user: "nobody" }, { database: "nothing" }]) {
    const other = postgres({ ...SERVER, ...wrong });
    await attempt(other`SELECT 1`);
    await other.end();
  }
}

main();
