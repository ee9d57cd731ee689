import { setMaxListeners } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { startOwn } from "../../src/verify/own/start.ts";
import { quick, toMaxPauseMs } from "../../src/verify/quick.ts";
import { toLines } from "../../src/verify/summary.ts";
import { verify } from "../../src/verify/verify.ts";

/**
 * Everything at once, by chance. Whatever happened, what every device has at the end must be what the answers promised.
 *
 * `VERIFY_SEED` makes the choices (not the timing), `VERIFY_SECONDS` is how long: 120, as CI has it, and this is
 * `mustreach verify --quick`. What has happened is counted in the file that `VERIFY_COUNTS` names, if it does.
 */
const seed = Number(process.env.VERIFY_SEED ?? 1);
const seconds = Number(process.env.VERIFY_SECONDS ?? 30);

beforeAll(() => {
  setMaxListeners(0);
});

const writers = 50;
const { roundSeconds, users, groups, rate } = quick;
const size = { roundSeconds, writers, users, groups, maxPauseMs: toMaxPauseMs(rate, writers) };

/** So many kinds of faults happen also where everything takes long: one in half a minute, and one more. */
const minKinds = 1 + Math.floor(seconds / 30);
const say = (line: string) => void process.stdout.write(`verify: ${line}\n`);

test("every device gets what was promised to it, whatever happens", { timeout: (seconds + 400) * 1_000 }, async () => {
  const how = `VERIFY_SEED=${seed} VERIFY_SECONDS=${seconds}`;
  say(how);
  const logDir = await mkdtemp(join(tmpdir(), "mustreach-verify-logs-"));
  const deployment = await startOwn({ instances: 2, workers: 1, brokers: 1, logDir, say });
  try {
    const { violations, totals } = await verify({ ...size, deployment, seed, seconds, say });
    const counts = toLines(totals).join("\n");
    say(counts);
    if (process.env.VERIFY_COUNTS) await writeFile(process.env.VERIFY_COUNTS, `${counts}\n`);
    expect(violations.join("\n\n"), how).toBe("");
    expect(totals.faultsByName.size, how).toBeGreaterThanOrEqual(minKinds);
    for (const name of ["instance-0", "instance-1"]) {
      expect(await readFile(join(logDir, `${name}.log`), "utf8")).toContain('"msg":"listening"');
    }
    expect(await readFile(join(logDir, "brokers.log"), "utf8")).toContain("Server is ready");
  } finally {
    await deployment.stop();
    await rm(logDir, { recursive: true });
  }
});
