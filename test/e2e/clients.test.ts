import { afterAll, describe, expect, test } from "vitest";
import { findTools, languages } from "../clients/languages.ts";
import type { Program } from "../clients/program.ts";
import { runRing } from "../clients/ring.ts";
import { readVectors, runVectors } from "../clients/scenario.ts";
import { installProtoc } from "../foreign/toolchain.ts";

/**
 * The clients of `clients/` that need no compiler and are ready within seconds; the others are run by
 * `npm run test:clients`.
 */
const programs = new Map<string, Program>();
const notRun: string[] = [];

afterAll(async () => {
  await Promise.all([...programs.values()].map((program) => program.stop?.()));
  process.stdout.write(`clients run: ${[...programs.keys()].join(", ")}; not run: ${notRun.join(", ")}\n`);
});

describe.concurrent("with the vectors that all clients share,", () => {
  for (const language of languages) {
    test(language.name, async ({ skip }) => {
      function leave(why: string): never {
        notRun.push(`${language.name} (${why})`);
        return skip(why);
      }
      if (!language.isQuick) leave("by npm run test:clients");
      const tools = await findTools(language);
      if ("missing" in tools) leave(`${tools.missing} is missing`);
      // Without the Python package index there is no grpcio.
      if (language.name === "python") await installProtoc().catch(() => leave("pip cannot install grpcio"));
      const program = await language.build();
      programs.set(language.name, program);
      if (!language.isRingOnly) expect(await runVectors(program)).toBe((await readVectors()).steps.length);
    });
  }
});

test("each sends to the next one, and the last one to the first", async () => {
  expect(programs.size).toBeGreaterThan(0);
  await runRing(programs);
});
