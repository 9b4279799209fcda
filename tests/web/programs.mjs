// The running programs that the browser looks at: the demo, and a second pgtally that demands a token.

import { spawn } from "node:child_process";

/** A program whose output is read for addresses. */
class Program {
  constructor(command, args, environment = {}) {
    this.output = "";
    this.child = spawn(command, args, { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (chunk) => { this.output += chunk; });
    }
    this.isWanted = true;
    this.ended = new Promise((resolve) => {
      this.child.on("exit", (code, signal) => {
        if (this.isWanted) console.log(`${command} has ended by itself (${code ?? signal}):\n${this.output}`);
        resolve();
      });
    });
  }

  /** Waits until the output has something; answers with the match. */
  async says(pattern, seconds = 120) {
    const end = Date.now() + seconds * 1000;
    for (;;) {
      const match = this.output.match(pattern);
      if (match) return match;
      if (this.child.exitCode !== null || Date.now() > end) {
        throw new Error(`${pattern} is not in the output:\n${this.output}`);
      }
      await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
  }

  async stop() {
    this.isWanted = false;
    this.child.kill("SIGINT");
    await this.ended;
  }
}

/** A sample application behind pgtally, with planted faults and their findings. */
export async function startDemo(pgtally) {
  const program = new Program(pgtally, ["demo"]);
  const [, postgres] = await program.says(/postgres \S+ on 127\.0\.0\.1:(\d+)/);
  const [, proxy] = await program.says(/proxy on 127\.0\.0\.1:(\d+)/);
  const [, admin] = await program.says(/(http:\/\/127\.0\.0\.1:\d+)\/\n?sample/);
  const [, application] = await program.says(/sample application on (http:\S+?)\/?\n/);
  await program.says(/stop: Ctrl-C/);
  return { program, postgres: Number(postgres), proxy: Number(proxy), admin, application };
}

/** Another pgtally before the same server, with settings of its own by their variables. */
export async function startServing(pgtally, postgres, settings) {
  const args = ["serve", "--upstream", `127.0.0.1:${postgres}`, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
  const program = new Program(pgtally, [...args, "--log-format", "json"], settings);
  const [, admin] = await program.says(/"admin":"(http:\/\/127\.0\.0\.1:\d+)\//);
  const [, proxy] = await program.says(/"listen":"[^"]*127\.0\.0\.1:(\d+)/);
  return { program, admin, proxy: Number(proxy) };
}
