// Everything node-postgres has: simple, parameters, named statements, portals in pieces, COPY refused, notifications.
"use strict";

const { Client } = require("pg");
const Cursor = require("pg-cursor");

const SERVER = { host: "127.0.0.1", port: Number(process.env.PORT), user: "postgres", database: "postgres" };
const print = (value) => console.log(JSON.stringify(value, (_, field) => (typeof field === "bigint" ? String(field) : field)));
const attempt = (work) => work.then(
  () => print("no error"),
  ({ code, message, position, routine }) => print({ code, message, position, routine }),
);

async function statements(db) {
  print((await db.query("SELECT 1 AS a; SELECT name FROM wire WHERE id = 2")).map((result) => result.rows));
  print((await db.query("SELECT * FROM wire WHERE id <= $1 ORDER BY id", [6])).rows);
  print((await db.query({ text: "SELECT id, ratio FROM wire WHERE id <= $1 ORDER BY id", values: [6], binary: true, rowMode: "array" })).rows.length);
  for (let id = 1; id < 9; id += 1) {
    print((await db.query({ name: "by-id", text: "SELECT name FROM wire WHERE id = $1", values: [id] })).rows);
  }
  print((await db.query("SELECT repeat('z', 2000000) AS z")).rows[0].z.length);
  print((await db.query("SELECT length($1)", ["y".repeat(2000000)])).rows);
  // Not awaited one by one: sent as the driver thinks fit.
  const several = [1, 2, 3, 4, 5].map((id) => db.query("SELECT tags, facts FROM wire WHERE id = $1", [id]));
  print((await Promise.all(several)).map((result) => result.rows));
}

async function transactions(db) {
  await db.query("BEGIN");
  await db.query("INSERT INTO wire_written VALUES ($1, $2)", [1, "one"]);
  await db.query("SAVEPOINT s");
  await attempt(db.query("INSERT INTO wire_written VALUES ($1, $2)", [1, "again"]));
  await attempt(db.query("SELECT 1"));
  await db.query("ROLLBACK TO s");
  const cursor = db.query(new Cursor("SELECT id FROM wire ORDER BY id"));
  print(await cursor.read(7));
  print(await cursor.read(3));
  await cursor.close();
  print((await db.query("SELECT * FROM wire_written")).rows);
  await db.query("ROLLBACK");
}

async function messages(db) {
  db.on("notice", (notice) => print([notice.severity, notice.message]));
  const heard = new Promise((done) => db.on("notification", ({ channel, payload }) => done([channel, payload])));
  await db.query("DO $$ BEGIN RAISE NOTICE 'look'; END $$");
  await db.query("LISTEN mail");
  await db.query("NOTIFY mail, 'hello'");
  print(await heard);
  await attempt(db.query("SELECT nothing FROM wire"));
  await attempt(db.query("SELEKT"));
  await attempt(db.query("SELECT 1 / (id - id) FROM wire WHERE id = $1", [1]));
  await attempt(db.query("SELECT name FROM wire WHERE id = $1", ["x"]));
  await attempt(db.query("COPY wire_written FROM STDIN"));
}

async function main() {
  const db = new Client({ ...SERVER, application_name: "wire" });
  await db.connect();
  for (const part of [statements, transactions, messages]) await part(db);
  await db.end();
  for (const wrong of [{ user: "nobody" }, { database: "nothing" }]) await attempt(new Client({ ...SERVER, ...wrong }).connect());
}

main();
