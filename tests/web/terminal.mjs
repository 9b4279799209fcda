// Drives `pgtally top` in a real terminal, by tmux: keys in, screens out.

import { execFileSync } from "node:child_process";
import assert from "node:assert/strict";

import { check, until } from "./check.mjs";

let screens = 0;

/** A terminal with `top` in it. */
export class Screen {
  constructor(pgtally, admin, width, height) {
    const command = `${pgtally} top --url ${admin}; echo ended with $?; sleep 60`;
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

export async function testTerminal(pgtally, demo) {
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
      screen.press("x");
      screen.resize(20, 5);
      await screen.shows(/^ 1 findings/);
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
        return lines.length > 0 && lines.every((line) => /×\d+ N\+1/.test(line));
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
