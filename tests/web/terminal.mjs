// Drives `pgtally top` in a real terminal, by tmux: keys in, screens out.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";

import { check, until } from "./check.mjs";
import { startServing } from "./programs.mjs";

let screens = 0;

/** A terminal with `top` in it. */
export class Screen {
  constructor(pgtally, admin, width, height, environment = "") {
    const command = `${environment} ${pgtally} top --url ${admin}; echo ended with $?; sleep 60`;
    // A server that is just ending takes no new session.
    screens += 1;
    this.socket = `pgtally-test-${process.pid}-${screens}`;
    this.tmux("new-session", "-d", "-x", String(width), "-y", String(height), command);
  }

  tmux(...args) {
    return execFileSync("tmux", ["-L", this.socket, "-f", "/dev/null", ...args], { encoding: "utf8" });
  }

  press(...keys) { this.tmux("send-keys", ...keys); }
  text() { return this.tmux("capture-pane", "-p"); }
  resize(width, height) { this.tmux("resize-window", "-x", String(width), "-y", String(height)); }
  async shows(pattern) {
    try {
      await until(String(pattern), () => pattern.test(this.text()));
    } catch (error) {
      throw new Error(`${error.message}:\n${this.text()}`);
    }
  }
  close() { this.tmux("kill-server"); }
}

/** Shows only what fits a filter, in any list. */
function look(screen, filter) {
  screen.press("f");
  screen.press(...Array.from({ length: 60 }, () => "BSpace"));
  screen.press("-l", filter);
  screen.press("Enter");
}

/** What the program in the terminal has put on the clipboard. */
function clipboard(screen) {
  try { return screen.tmux("show-buffer"); } catch { return ""; }
}

export async function testTerminal(pgtally, demo, Client) {
  await check("top: findings, views, filter, inspection, resizing, and back to the shell", async () => {
    const screen = new Screen(pgtally, demo.admin, 140, 30);
    try {
      await screen.shows(/N\+1.*×\d+/);
      screen.press("3");
      await screen.shows(/SHARE +CALLS/);
      await screen.shows(/SELECT/);
      screen.press("2");
      await screen.shows(/GET \//);
      screen.press("4");
      await screen.shows(/STATE +CLIENT|no session/);
      screen.press("1");
      await screen.shows(/N\+1/);
      screen.press("f");
      screen.press("-l", "kind:duplicate d>oops");
      screen.press("Enter");
      await screen.shows(/`oops` is no duration/);
      screen.press("BSpace", "BSpace", "BSpace", "BSpace");
      screen.press("-l", "0ms");
      screen.press("Enter");
      await until("only duplicates", () => /duplicate.*×/.test(screen.text()) && !/N\+1 .*×/.test(screen.text()));
      screen.press("Enter");
      await screen.shows(/fix: /);
      screen.press("q");
      screen.press("Escape");
      await screen.shows(/N\+1.*×/);
      screen.press("?");
      await screen.shows(/all that is known of a row/);
      screen.resize(20, 5);
      await screen.shows(/^1-5 Tab/);
      screen.press("j", "j");
      await screen.shows(/^j k/);
      screen.press("x");
      await screen.shows(/^ 1 findings/);
      screen.press("2");
      await screen.shows(/^ 2 routes/);
      screen.press("1");
      await screen.shows(/WHAT[^]*(N\+1|slow|chatty)/);
      screen.resize(200, 50);
      await screen.shows(/q quit/);
      screen.press("q");
      await screen.shows(/ended with 0/);
    } finally {
      screen.close();
    }
  });

  await check("top: the live tap with filter, inspection and pause, in small terminals too", async () => {
    const screen = new Screen(pgtally, demo.admin, 140, 30);
    const visit = () => fetch(`${new URL(demo.application).origin}/work-items`).then((answer) => answer.text());
    try {
      await screen.shows(/N\+1.*×\d+/);
      screen.press("5");
      await screen.shows(/waiting for statements/);
      await until("marked statements", async () => { await visit(); return /×\d+ N\+1 +GET \/work-items/.test(screen.text()); });
      screen.press("f");
      screen.press("-l", "op:select n+1");
      screen.press("Enter");
      await until("only the loop", async () => {
        await visit();
        const lines = screen.text().split("\n").filter((line) => line.includes("GET /work-items"));
        // The first of a loop has no number yet.
        return lines.length > 0 && lines.every((line) => / N\+1 +(slow +)?GET/.test(line));
      });
      screen.press("p");
      await screen.shows(/paused/);
      screen.press("Enter");
      await screen.shows(/statement: SELECT/);
      screen.press("q");
      screen.resize(20, 5);
      await screen.shows(/SENT/);
      screen.press("q");
      await screen.shows(/ended with 0/);
    } finally {
      screen.close();
    }
  });

  await check("top: EXPLAIN, EXPLAIN ANALYZE, editing before, and nothing written without being asked", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pgtally-editor-"));
    const editor = join(folder, "editor");
    // Stands in for a person: $1 becomes a number, everything else a text of its own.
    writeFileSync(editor, "#!/bin/sh\nsed -i -e 's/[$]1/1/' -e \"s/[$]\\([2-9]\\)/'edited \\1'/g\" \"$1\"\n", { mode: 0o755 });
    const url = `postgres://postgres@127.0.0.1:${demo.postgres}/postgres`;
    const screen = new Screen(pgtally, demo.admin, 140, 30, `DATABASE_URL=${url} VISUAL= EDITOR=${editor}`);
    try {
      await screen.shows(/N\+1.*×\d+/);
      look(screen, '"SELECT name FROM authors"');
      await screen.shows(/^1 rows/m);
      screen.press("x");
      await screen.shows(/EXPLAIN, for any values/);
      await screen.shows(/on authors.*cost=[^]*id = \$1/);
      screen.press("X");
      await screen.shows(/its values are not known/);
      screen.press("E");
      await screen.shows(/EXPLAIN ANALYZE, rolled back\nSELECT name FROM authors WHERE id = 1[^]*actual time=/);
      screen.press("q");
      look(screen, '"INSERT INTO contacts"');
      await screen.shows(/^1 rows/m);
      screen.press("Enter");
      await screen.shows(/statement: INSERT/);
      screen.press("E");
      await screen.shows(/It writes, or locks rows, and was not executed/);
      screen.press("y");
      await screen.shows(/Insert on contacts.*actual time=/);
      screen.press("q", "3");
      await screen.shows(/SHARE/);
      // Copies go to the terminal's clipboard, which tmux shows as a buffer of its own.
      screen.tmux("set-option", "-g", "set-clipboard", "on");
      screen.press("C");
      await screen.shows(/copied for psql; its values are not kept/);
      await until("the clipboard", () => clipboard(screen).includes("EXECUTE it('value 1'"));
      screen.press("q");
      await screen.shows(/ended with 0/);
    } finally {
      screen.close();
      rmSync(folder, { recursive: true });
    }
    const rows = execFileSync("psql", [url, "-Atc", "SELECT count(*) FROM contacts WHERE 'edited 2' IN (email, name)"]);
    assert.equal(String(rows).trim(), "0");
  });

  await check("top: EXPLAIN without a database says what to do, and one that cannot be reached why", async () => {
    for (const [environment, words] of [
      ["env -u DATABASE_URL -u PGHOST -u PGPORT", /start with DATABASE_URL set, or with --database-url/],
      ["DATABASE_URL=mysql://x/y", /this is no URL of PostgreSQL/],
      ["DATABASE_URL=postgres://ann@127.0.0.1:1/x", /cannot connect to 127\.0\.0\.1:1.*refused/s],
    ]) {
      const screen = new Screen(pgtally, demo.admin, 140, 12, environment);
      try {
        await screen.shows(/N\+1.*×\d+/);
        look(screen, '"SELECT name FROM authors"');
        await screen.shows(/^1 rows/m);
        screen.press("x");
        await screen.shows(words);
      } finally {
        screen.close();
      }
    }
  });

  await check("top: with capture.parameters = full, statements are copied and executed with their values", async () => {
    const serving = await startServing(pgtally, demo.postgres, { PGTALLY__CAPTURE__PARAMETERS: "full" });
    const url = `postgres://postgres@127.0.0.1:${demo.postgres}/postgres`;
    const screen = new Screen(pgtally, serving.admin, 200, 30, `DATABASE_URL=${url}`);
    const client = new Client({ host: "127.0.0.1", port: serving.proxy, user: "postgres", database: "postgres" });
    try {
      screen.tmux("set-option", "-g", "set-clipboard", "on");
      await client.connect();
      screen.press("5");
      await screen.shows(/waiting for statements/);
      await until("the statement", async () => {
        await client.query("SELECT relkind FROM pg_class WHERE relname = $1 AND relkind <> 'x'", ["it's pg_class"]);
        return screen.text().includes("relkind <> $2");
      });
      screen.press("p", "G");
      await screen.shows(/paused/);
      screen.press("C");
      await until("the clipboard", () => clipboard(screen).includes("EXECUTE it('it''s pg_class');"));
      assert.ok(clipboard(screen).includes("relkind <> 'x'"), clipboard(screen));
      screen.press("X");
      await screen.shows(/EXPLAIN ANALYZE, rolled back[^]*relname = 'it''s pg_class'[^]*Execution Time/);
    } finally {
      screen.close();
      await client.end();
    }
    for (const path of ["statements", "requests", "findings", "sessions"]) {
      const text = await (await fetch(`${serving.admin}/api/v1/${path}`)).text();
      assert.ok(!text.includes("s pg_class"), path);
    }
    assert.ok(!(await (await fetch(`${serving.admin}/metrics`)).text()).includes("s pg_class"));
    assert.ok(!serving.program.output.includes("s pg_class"));
    await serving.program.stop();
  });

  await check("tap: says that its pgtally has stopped, and fails", async () => {
    const serving = await startServing(pgtally, demo.postgres, {});
    const tap = spawn(pgtally, ["tap", "--url", serving.admin], { stdio: ["ignore", "pipe", "pipe"] });
    let [out, words] = ["", ""];
    tap.stdout.on("data", (chunk) => { out += chunk; });
    tap.stderr.on("data", (chunk) => { words += chunk; });
    const ended = new Promise((resolve) => { tap.on("exit", (code) => resolve(code)); });
    const url = `postgres://postgres@127.0.0.1:${serving.proxy}/postgres`;
    await until("it listens", () => {
      execFileSync("psql", [url, "-qAtc", "SELECT count(*) FROM pg_class"]);
      return out.includes("pg_class");
    });
    await serving.program.stop();
    assert.equal(await ended, 1, words);
    assert.match(words, /^pgtally tap: the stream has ended: pgtally at http\S+ has stopped, or the way there is broken/);
  });

  await check("top: says that nobody answers", async () => {
    const screen = new Screen(pgtally, "http://127.0.0.1:1", 100, 10);
    try {
      await screen.shows(/does not answer/);
      screen.press("q");
      await screen.shows(/ended with 0/);
    } finally {
      screen.close();
    }
  });

  await check("top and tap: a filter that makes no sense is a usage error", () => {
    for (const command of ["top", "tap"]) {
      try {
        execFileSync(pgtally, [command, "d>fast"], { encoding: "utf8", stdio: "pipe" });
        assert.fail(`${command} has taken it`);
      } catch (error) {
        assert.equal(error.status, 2, String(error));
        assert.ok(error.stderr.includes("character 1"), error.stderr);
      }
    }
  });
}
