// node-postgres: texts, parameters, and named statements.
"use strict";

const { Client } = require("pg");

const HINT = "/* pgtally:cache ttl=60s tags=product */";
const ONE = `SELECT id, name, price, added, labels, details FROM cached_product WHERE id = $1 ${HINT}`;

const show = (result) => console.log(JSON.stringify(result.rows), result.rowCount, result.command);

async function reads(db) {
  for (let round = 0; round < 5; round += 1) {
    show(await db.query(`SELECT sum(price), max(added) FROM cached_product ${HINT}`));
    show(await db.query(ONE, [7]));
    show(await db.query({ name: "one", text: ONE, values: [8] }));
    show(await db.query({ text: `SELECT name FROM cached_product WHERE id < $1 ORDER BY id ${HINT}`, values: [4], rowMode: "array" }));
  }
}

async function main() {
  const settings = { host: "127.0.0.1", port: Number(process.env.PORT), user: "postgres", database: "postgres" };
  const [db, other] = [new Client(settings), new Client(settings)];
  await Promise.all([db.connect(), other.connect()]);
  await reads(db);
  await other.query("UPDATE cached_product SET name = $1 WHERE id = 7", ["written"]);
  await reads(db);
  await other.query("BEGIN");
  await other.query("UPDATE cached_product SET name = 'product 7' WHERE id = 7");
  show(await db.query(ONE, [7]));
  await other.query("COMMIT");
  show(await db.query(ONE, [7]));
  // Sent at once, answered one after the other.
  (await Promise.all([7, 8, 9].map((id) => db.query(ONE, [id])))).forEach(show);
  await reads(db);
  await Promise.all([db.end(), other.end()]);
}

main();
