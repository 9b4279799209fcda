// A finding that is as it should be, acknowledged on its page: by a click, with JavaScript and without, and what a
// browser's own checks would not let through.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { check, until } from "./check.mjs";
import { startServing } from "./programs.mjs";

const REASON = "it is \"two\" reads <b>for good</b>";

export async function testAcks({ pgtally, demo, open, shoot, violations, Client }) {
  const folder = mkdtempSync(join(tmpdir(), "pgtally-acks-"));
  const file = join(folder, "pgtally.acks.toml");
  writeFileSync(file, "# ours\n");
  const serving = await startServing(pgtally, demo.postgres, { PGTALLY__FINDINGS__ACKNOWLEDGEMENTS: file });
  const client = new Client({ host: "127.0.0.1", port: serving.proxy, user: "postgres", database: "postgres" });
  await client.connect();
  const findings = async () => (await (await fetch(`${serving.admin}/api/v1/findings`)).json()).findings;
  /** A duplicate on a route of its own. */
  const found = async (route) => {
    for (let turn = 0; turn < 3; turn += 1) {
      await client.query(`SELECT count(*) FROM pg_stat_activity a JOIN users_of_acks u ON true /*request_id='${route}',route='${route}'*/`);
    }
    return until("the finding", async () => (await findings()).find((it) => it.route === route));
  };
  await client.query("CREATE TABLE users_of_acks AS SELECT 1 AS id");

  for (const javaScriptEnabled of [true, false]) {
    const how = javaScriptEnabled ? "with JavaScript" : "without";
    await check(`a finding is acknowledged by a click, ${how}`, async () => {
      const { id } = await found(`acks-${javaScriptEnabled}`);
      const page = await open({ javaScriptEnabled });
      await page.goto(`${serving.admin}/findings/${id}`);
      await page.click("text=Acknowledge");
      assert.equal((await findings()).find((it) => it.id === id).state, "new", "a reason is demanded");
      await page.fill("#reason", REASON);
      await page.fill("#expires", "2999-01-31");
      await page.fill("#max_repeat", "3");
      await page.click("text=Acknowledge");
      await page.waitForURL(new RegExp(`/findings/${id}`));
      await page.waitForSelector(`text=${REASON}`);
      assert.equal(await page.locator("main b", { hasText: "for good" }).count(), 0, "the reason became markup");
      assert.equal((await findings()).find((it) => it.id === id).state, "acked");
      const written = readFileSync(file, "utf8");
      assert.ok(written.startsWith("# ours\n") && written.includes(id) && written.includes("2999-01-31"), written);
      await shoot(page, `acknowledged-whole-${javaScriptEnabled}`);
      await page.context().close();
    });
  }

  await check("an acknowledgement that cannot be is refused with its words kept, and nothing is written", async () => {
    const { id } = await found("acks-wrong");
    const before = readFileSync(file, "utf8");
    const page = await open({ bypassCSP: true });
    await page.goto(`${serving.admin}/findings/${id}`);
    await page.evaluate(() => document.querySelectorAll("form.ack").forEach((form) => { form.noValidate = true; }));
    await page.evaluate(() => { document.querySelector("#expires").type = "text"; });
    await page.fill("#reason", REASON);
    await page.fill("#expires", "tomorrow");
    await page.click("text=Acknowledge");
    await page.waitForSelector("[role=alert]");
    assert.equal(await page.inputValue("#reason"), REASON);
    assert.deepEqual(await violations(page), []);
    assert.equal(readFileSync(file, "utf8"), before);
    await page.context().close();
  });

  await client.end();
  await serving.program.stop();
  rmSync(folder, { recursive: true });
}
