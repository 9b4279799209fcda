// A statement of a megabyte, three times in one request: every surface shows it, cut, says so, and stays small.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";

import { check, until } from "./check.mjs";
import { Screen } from "./terminal.mjs";

const FORMATS = ["text", "json", "markdown", "junit", "sarif", "html"];
const BYTES_MAX = 4_000_000;

/** Lines of `pgtally tap` about one word. */
function tapped(pgtally, admin, word) {
  const child = spawn(pgtally, ["tap", "--url", admin, word], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = { child, text: "" };
  child.stdout.on("data", (chunk) => { lines.text += chunk; });
  return lines;
}

export async function testHuge({ pgtally, demo, open, api, Client }) {
  const client = new Client({ host: "127.0.0.1", port: demo.proxy, user: "postgres", database: "postgres" });
  await client.connect();
  // Names, as literals would be taken out.
  const name = `very_long_${"é".repeat(20)}`;
  const conditions = Array.from({ length: 18_000 }, () => `${name}.id > 0`);
  // In front: what is behind the part that is read names no request.
  const text = (id) => `/*request_id='${id}',route='%2Fhuge'*/ SELECT max(id) FROM huge_things AS ${name} WHERE ${conditions.join(" AND ")}`;
  assert.ok(Buffer.byteLength(text(0)) > 1_000_000);
  await client.query("CREATE TABLE huge_things AS SELECT 1 AS id");
  const tap = tapped(pgtally, demo.admin, "very_long");
  // A request each time: one that goes on for ever is never judged as a whole.
  for (let id = 0; !tap.text && id < 30; id += 1) {
    for (let turn = 0; turn < 3; turn += 1) await client.query(text(id));
  }
  const finding = await until("the finding", async () => (await api("findings?filter=route:%2Fhuge")).findings[0]);

  await check("a statement of a megabyte: the tap says that it is cut", () => {
    tap.child.kill();
    const [line] = tap.text.split("\n");
    assert.ok(line.length < 20_000, `${line.length} characters`);
    const { statement } = JSON.parse(line);
    assert.ok(statement.startsWith("SELECT max(id)") && statement.endsWith("…"), statement.slice(-40));
  });

  await check("a statement of a megabyte: lists say that it is cut", async () => {
    for (const text of [finding.statement, (await api("statements?filter=very_long")).statements[0].statement]) {
      assert.ok(text.startsWith("SELECT max(id)") && text.endsWith("…") && text.length < 20_000, text.slice(-40));
    }
  });

  await check("a statement of a megabyte: pages", async () => {
    const page = await open();
    const paths = ["/", `/findings/${finding.id}`, "/routes", "/requests?filter=route:%2Fhuge", `/statements?filter=very_long`,
      `/requests/${encodeURIComponent(finding.request)}`, `/statements/${finding.fingerprint}`];
    for (const path of paths) {
      const answer = await page.goto(demo.admin + path);
      const body = await answer.text();
      assert.ok(answer.status() === 200 && body.length < BYTES_MAX, `${path}: ${answer.status()}, ${body.length} bytes`);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${path} is ${overflow} px too wide`);
    }
    await page.context().close();
  });

  await check("a statement of a megabyte: reports of every format", () => {
    for (const format of FORMATS) {
      const report = execFileSync(pgtally, ["report", demo.admin, "--format", format], { encoding: "utf8", maxBuffer: BYTES_MAX });
      assert.ok(format !== "json" || report.includes("very_long"), report.length);
    }
  });

  await check("a statement of a megabyte: top", async () => {
    const screen = new Screen(pgtally, demo.admin, 80, 24);
    try {
      await screen.shows(/N\+1.*×\d+/);
      screen.press("3");
      screen.press("f");
      screen.press("-l", "very_long");
      screen.press("Enter");
      await screen.shows(/SELECT max\(id\)/);
      screen.press("Enter");
      await screen.shows(/statement: SELECT max\(id\)/);
      screen.press("q");
      screen.press("q");
      await screen.shows(/ended with 0/);
    } finally {
      screen.close();
    }
  });
  await client.end();
}
