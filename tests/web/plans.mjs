// Plans on the page of a statement, and statements copied with their values from the live tap.

import assert from "node:assert/strict";

import { check, until } from "./check.mjs";
import { startServing } from "./programs.mjs";

const VALUE = "it's </script><script>window.hacked=1</script> \\ \u202e";

export async function testPlans({ pgtally, demo, open, shoot, violations, Client, heavy }) {
  const path = `/statements/${heavy.fingerprint}`;

  for (const colorScheme of ["light", "dark"]) {
    await check(`a statement with its plan, ${colorScheme}: fits every window and has no fault that axe knows`, async () => {
      const page = await open({ colorScheme, bypassCSP: true });
      await page.goto(demo.admin + path);
      await page.click("main button >> text=Explain");
      await page.waitForSelector("pre[aria-label=Plan]");
      const plan = await page.innerText("pre[aria-label=Plan]");
      assert.ok(/\(cost=[0-9.]+ rows=\d+ width=\d+\)/.test(plan), plan);
      for (const width of [320, 1280, 1920]) {
        await page.setViewportSize({ width, height: 900 });
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${overflow} px too wide at ${width}`);
        await shoot(page, `plan-whole-${colorScheme}-${width}`);
        assert.deepEqual(await violations(page), [], `at ${width}`);
      }
      assert.deepEqual(page.problems, []);
      await page.context().close();
    });
  }

  await check("a plan is shown without JavaScript", async () => {
    const page = await open({ javaScriptEnabled: false });
    await page.goto(demo.admin + path);
    await page.click("main button >> text=Explain");
    assert.ok((await page.innerText("pre[aria-label=Plan]")).includes("cost="));
    assert.ok(page.url().endsWith(`${path}#plan`), page.url());
    await page.context().close();
  });

  const serving = await startServing(pgtally, demo.postgres, { PGTALLY__CAPTURE__PARAMETERS: "full" });
  const client = new Client({ host: "127.0.0.1", port: serving.proxy, user: "postgres", database: "postgres" });
  await client.connect();

  await check("the live tap copies a statement with its values, and they run as they were", async () => {
    const page = await open({ permissions: ["clipboard-read", "clipboard-write"] });
    await page.goto(`${serving.admin}/tap?filter=copied_value`);
    await until("listening", async () => (await page.innerText("#state")) === "listening");
    await client.query("SELECT $1::text AS copied_value, $2::int AS n", [VALUE, null]);
    await page.waitForSelector("text=Copy with values");
    await shoot(page, "tap-values");
    await page.click("text=Copy with values");
    await until("copied", async () => (await page.innerText("#status")) === "copied");
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(copied.startsWith("PREPARE it AS SELECT $1::text AS copied_value"), copied);
    // Hidden characters are shown, wherever the text is put.
    assert.ok(!copied.includes("\u202e") && copied.includes("⟦U+202E⟧"), copied);
    const [, rows] = await client.query(copied);
    assert.deepEqual(rows.rows, [{ copied_value: VALUE.replace("\u202e", "⟦U+202E⟧"), n: null }]);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    assert.deepEqual(page.problems, []);
    await page.context().close();
  });

  await check("where values are not told, the tap has nothing to copy them with; where plans are off, the page says how", async () => {
    const page = await open();
    await page.goto(`${demo.admin}/tap?filter=copied_value`);
    await until("listening", async () => (await page.innerText("#state")) === "listening");
    const other = new Client({ host: "127.0.0.1", port: demo.proxy, user: "postgres", database: "postgres" });
    await other.connect();
    await other.query("SELECT $1::text AS copied_value", [VALUE]);
    await other.end();
    await page.waitForSelector("#tap tbody tr");
    assert.equal(await page.locator("text=Copy with values").count(), 0);
    const listed = async () => (await (await fetch(`${serving.admin}/api/v1/statements?filter=copied_value`)).json()).statements[0];
    const { fingerprint } = await until("the statement", listed);
    await page.goto(`${serving.admin}/statements/${fingerprint}`);
    assert.ok((await page.innerText("main")).includes("inspect.explain = \"on\""));
    assert.equal(await page.locator("main button >> text=Explain").count(), 0);
    await page.context().close();
  });

  await client.end();
  await serving.program.stop();
}
