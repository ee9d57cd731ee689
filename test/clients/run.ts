import { findTools, type Language, languages } from "./languages.ts";
import type { Program } from "./program.ts";
import { runRing } from "./ring.ts";
import { runVectors } from "./scenario.ts";
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

async function tryOut(language: Language): Promise<void> {
  const startedAt = performance.now();
  const seconds = () => `${((performance.now() - startedAt) / 1_000).toFixed(0)} s`;
  try {
    const program = await language.build();
    const built = seconds();
    const steps = language.isRingOnly ? 0 : await runVectors(program);
    programs.set(language.name, program);
    passed++;
    const stubs = await generateByBuf(language.name);
    say(`ok       ${language.name}: ${steps} steps (built in ${built}, ${seconds()} in all); ${stubs}`);
  } catch (error) {
    failed++;
    say(`FAILED   ${language.name}\n${describe(error)}`);
  }
}

for (const language of languages) {
  if (asked.length > 0 && !asked.includes(language.name)) continue;
  const tools = await findTools(language);
  if ("missing" in tools) {
    say(`not run  ${language.name}: ${tools.missing} is missing`);
    missing.push(language.name);
    if (asked.length > 0) failed++;
    continue;
  }
  say(`         ${language.name}: ${tools.versions}`);
  await tryOut(language);
}

if (programs.size > 1) {
  try {
    say(`ok       ring: ${await runRing(programs)}`);
    passed++;
  } catch (error) {
    failed++;
    say(`FAILED   ring\n${describe(error)}`);
  }
}
for (const { stop } of programs.values()) await stop?.();
say(`ran: ${[...programs.keys()].join(", ") || "none"}; not run: ${missing.join(", ") || "none"}`);
say(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
