// Drives `pgtally top` in a real terminal, by tmux: keys in, screens out.

import { execFileSync } from "node:child_process";
import assert from "node:assert/strict";

import { check, until } from "./check.mjs";

const SOCKET = `pgtally-test-${process.pid}`;
const tmux = (...args) => execFileSync("tmux", ["-L", SOCKET, "-f", "/dev/null", ...args], { encoding: "utf8" });

/** A terminal with `top` in it. */
class Screen {
  constructor(pgtally, admin, width, height) {
    const command = `${pgtally} top --url ${admin}; echo ended with $?; sleep 60`;
    tmux("new-session", "-d", "-x", String(width), "-y", String(height), command);
  }

  press(...keys) { tmux("send-keys", ...keys); }
  text() { return tmux("capture-pane", "-p"); }
  resize(width, height) { tmux("resize-window", "-x", String(width), "-y", String(height)); }
  async shows(pattern) {
    try {
      await until(String(pattern), () => pattern.test(this.text()));
    } catch (error) {
      throw new Error(`${error.message}:\n${this.text()}`);
    }
  }
  close() { tmux("kill-server"); }
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
