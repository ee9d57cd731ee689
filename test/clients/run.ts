import { startProcess } from "../helpers/process.ts";
import { languages, makeReady } from "./languages.ts";
import type { Program } from "./program.ts";
import { runRing } from "./ring.ts";
import { type Outcome, runVectors } from "./scenario.ts";
import { generateByBuf } from "./stubs.ts";

/**
 * Every client of `clients/` whose toolchain is here is built, put through `clients/vectors.json`, and sends to the next
 * one in a ring.
 *
 *     npm run test:clients              every language whose toolchain is here
 *     npm run test:clients -- go rust   these; one whose toolchain is missing has failed
 */
const say = (line: string) => void process.stdout.write(`${line}\n`);
const describe = (error: unknown) => (error instanceof Error ? error.message : String(error));

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => languages.every((language) => language.name !== name));
if (unknown.length > 0) {
  say(`no such client: ${unknown.join(", ")}`);
  process.exit(1);
}

const programs = new Map<string, Program>();
const missing: string[] = [];
let passed = 0;
let failed = 0;

function report(name: string, outcome: Outcome): void {
  if (outcome instanceof Error) {
    failed++;
    say(`FAILED   ${name}\n${outcome.message}`);
  } else {
    passed++;
    say(`ok       ${name}: ${outcome} steps`);
  }
}

for (const language of languages) {
  const { name } = language;
  if (asked.length > 0 && !asked.includes(name)) continue;
  const startedAt = performance.now();
  try {
    const ready = await makeReady(language);
    if ("missing" in ready) {
      say(`not run  ${name}: ${ready.missing}`);
      missing.push(name);
      if (asked.length > 0) failed++;
      continue;
    }
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0);
    say(`         ${name}: ${ready.versions} (ready in ${seconds} s; ${await generateByBuf(name)})`);
    programs.set(name, ready.program);
  } catch (error) {
    report(name, error instanceof Error ? error : new Error(String(error)));
  }
}

const cast = new Map([...programs].filter(([name]) => !languages.find((one) => one.name === name)?.isRingOnly));
for (const [name, outcome] of await runVectors(cast)) report(name, outcome);
if (programs.size > 1) {
  const service = await startProcess();
  try {
    say(`ok       ring: ${await runRing(programs, service)}`);
    passed++;
  } catch (error) {
    failed++;
    say(`FAILED   ring\n${describe(error)}`);
  } finally {
    await service.remove();
  }
}
for (const { stop } of programs.values()) await stop?.();
say(`ran: ${[...programs.keys()].join(", ") || "none"}; not run: ${missing.join(", ") || "none"}`);
say(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
