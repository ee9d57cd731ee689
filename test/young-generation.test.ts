import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const module = new URL("../src/young-generation.ts", import.meta.url).href;

/** Bytes that the young generation has of a process in which much is alive for a short time. */
async function grow(prepare: string, ...options: string[]): Promise<number> {
  const script = `
    import { getHeapSpaceStatistics } from "node:v8";
    ${prepare}
    const alive = [];
    for (let round = 0; round < 300; round++) {
      alive.push(Array.from({ length: 10_000 }, (_, i) => ({ i })));
      if (alive.length > 20) alive.shift();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
    console.log(young.space_size);
  `;
  const { stdout } = await promisify(execFile)(process.execPath, [...options, "--input-type=module", "-e", script]);
  return Number(stdout);
}

const bound = `const { boundYoungGeneration } = await import(${JSON.stringify(module)}); boundYoungGeneration();`;
const megabyte = 2 ** 20;

test("the young generation stays small where much is alive for a short time, and would not by itself", async () => {
  expect(await grow("")).toBeGreaterThan(48 * megabyte);
  // Twice the bound, which is looked at after it has grown.
  expect(await grow(bound)).toBeLessThanOrEqual(33 * megabyte);
});

test("what Node was told counts", async () => {
  expect(await grow(bound, "--max-semi-space-size=64")).toBeGreaterThan(48 * megabyte);
});
