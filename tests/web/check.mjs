// Counts what passes and what fails, and prints a line for each.

let passed = 0;
let failed = 0;

/** Runs one named check; an exception is its failure. */
export async function check(name, body) {
  try {
    await body();
    passed += 1;
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n    ${String(error.stack || error).split("\n").join("\n    ")}`);
  }
}

/** Prints the numbers; answers with the exit code. */
export function finish() {
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

/** Waits until `question` has an answer that counts as true, and gives it back. */
export async function until(what, question, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`${what}: still not after ${seconds} s`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}
