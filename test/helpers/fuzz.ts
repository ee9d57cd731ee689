/**
 * How much is tried, and with which choices: the same ones each time in `npm test`, others in `npm run soak`, where
 * `FUZZ_FACTOR` says how many times as much.
 */
const seed = Number(process.env.FUZZ_SEED ?? 1);
const factor = Number(process.env.FUZZ_FACTOR ?? 1);

/** Parameters of fast-check, for a number of cases. */
export function fuzz(cases: number): { readonly seed: number; readonly numRuns: number } {
  return { seed, numRuns: cases * factor };
}

/** A time limit for that many times as much, in milliseconds. */
export const fuzzTimeout = 60_000 * factor;
