// The cache's page with a cache that has work: tags, reasons, kept answers, forgetting, and why a statement is not kept.

import assert from "node:assert/strict";

import { check, until } from "./check.mjs";
import { startServing } from "./programs.mjs";

const TAG = "a<b>&c";

export async function testCache({ pgtally, demo, open, shoot, violations, Client }) {
  const caching = await startServing(pgtally, demo.postgres, { PGTALLY__CACHE__ENABLED: "on", PGTALLY__INSPECT__USER: "postgres" });
  const client = new Client({ host: "127.0.0.1", port: caching.proxy, user: "postgres", database: "postgres" });
  await client.connect();
  const hint = (tag) => `/*pgtally_cache='${encodeURIComponent(`ttl=60s;tags=${tag}`)}'*/`;
  const answer = async () => (await fetch(`${caching.admin}/api/v1/cache`)).json();
  await client.query("CREATE TABLE cached_things AS SELECT n AS id, 'thing ' || n AS name FROM generate_series(1, 9) n");
  const hits = async () => {
    await client.query(`SELECT name FROM cached_things WHERE id = 7 ${hint(TAG)}`);
    return (await answer()).tags.some((tag) => tag.tag === TAG && tag.hits > 0);
  };
  await until("an answer from the cache", hits);
  await client.query(`SELECT clock_timestamp() ${hint("now")}`);

  for (const colorScheme of ["light", "dark"]) {
    await check(`cache at work, ${colorScheme}: fits every window and has no fault that axe knows`, async () => {
      const page = await open({ colorScheme, bypassCSP: true });
      await page.goto(`${caching.admin}/cache?database=postgres&sql=SELECT+random()`);
      for (const width of [320, 1280, 1920]) {
        await page.setViewportSize({ width, height: 900 });
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${overflow} px too wide at ${width}`);
        await shoot(page, `cache-busy-whole-${colorScheme}-${width}`);
        assert.deepEqual(await violations(page), [], `at ${width}`);
      }
      await page.context().close();
    });
  }

  await check("the cache's page says why, and forgets a tag on a click", async () => {
    const page = await open({ javaScriptEnabled: false });
    await page.goto(`${caching.admin}/cache`);
    const text = await page.innerText("main");
    assert.ok(text.includes(TAG) && text.includes("a function that is volatile"), text);
    await page.fill("#database", "postgres");
    await page.fill("#sql", "SELECT name FROM cached_things");
    await page.click("text=Explain");
    const explained = await page.innerText("main");
    assert.ok(explained.includes("may be kept") && explained.includes("It reads public.cached_things"), explained);
    const good = async () => (await answer()).kept.filter((it) => it.current).length;
    assert.equal(await good(), 1);
    await page.click(`button[aria-label^="Forget the answers of a"]`);
    await page.waitForURL(/\/cache$/);
    assert.equal(await good(), 0);
    const body = new URLSearchParams({ tag: TAG });
    for (const headers of [{}, { Origin: "https://evil.example" }]) {
      const refused = await fetch(`${caching.admin}/cache`, { method: "POST", body, headers });
      assert.equal(refused.status, 403);
    }
    await page.context().close();
  });

  await client.end();
  await caching.program.stop();
}
