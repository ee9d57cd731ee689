import { setMaxListeners } from "node:events";
import { beforeAll, expect, test } from "vitest";
import { startOwn } from "../../src/verify/own/start.ts";
import { verify } from "../../src/verify/verify.ts";

/**
 * Everything at once, by chance. Whatever happened, what every device has at the end must be what the answers promised.
 *
 * `VERIFY_SEED` makes the choices (not the timing), `VERIFY_SECONDS` is how long.
 */
const seed = Number(process.env.VERIFY_SEED ?? 1);
const seconds = Number(process.env.VERIFY_SECONDS ?? 30);

beforeAll(() => {
  setMaxListeners(0);
});

const size = { roundSeconds: 60, writers: 50, users: 20, groups: 10, maxPauseMs: 400 };
const say = (line: string) => void process.stdout.write(`verify: ${line}\n`);

test("every device gets what was promised to it, whatever happens", { timeout: (seconds + 400) * 1_000 }, async () => {
  say(`VERIFY_SEED=${seed} VERIFY_SECONDS=${seconds}`);
  const deployment = await startOwn({ instances: 2, workers: 1, brokers: 1, say });
  try {
    const { violations, errors, totals } = await verify({ ...size, deployment, seed, seconds, say });
    if (errors.length > 0) say(`${errors.length} errors logged, such as ${errors[0]}`);
    expect(violations.join("\n\n"), `VERIFY_SEED=${seed} VERIFY_SECONDS=${seconds}`).toBe("");
    expect(totals.faultsByName.size).toBeGreaterThan(2);
  } finally {
    await deployment.stop();
  }
});
