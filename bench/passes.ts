import { readCpuMs } from "./accounting.ts";
import type { Bench, Durability, Figure, Latency, Pass } from "./row.ts";
import { lowest } from "./verdict.ts";

/** One side of a comparison, under one load. */
export interface Side {
  readonly side: string;
  readonly load: string;
  readonly durability: Durability;
  /** Which pass counts: that with the lowest of this. Default: the server's CPU. */
  readonly by?: (pass: Pass) => number;
  pass(): Promise<Pass>;
}

/** What a generator answers. */
export interface Outcome {
  readonly calls: number;
  readonly errors?: number;
  readonly firstError?: string;
  readonly seconds: number;
  readonly latencyMs?: Latency;
}

/** The processes whose CPU counts. */
export interface Accounted {
  readonly pid: number;
  readonly brokerPid?: number | undefined;
}

/** How long a pass may take that makes so many calls, in seconds: one that is slow makes fewer. */
export const maxPassSeconds = 5;

export const seconds = (pass: Pass): number => pass.seconds / pass.operations;
export const p50 = (pass: Pass): number => pass.latencyMs?.p50 ?? Number.POSITIVE_INFINITY;

/**
 * Runs a load and accounts for it.
 *
 * @param operationsPerCall how many operations a call counts for, as the receivers of a push.
 * @throws when a call was answered badly: a figure of errors is none.
 */
export async function account(of: Accounted, run: () => Promise<Outcome>, operationsPerCall = 1): Promise<Pass> {
  const read = () => [readCpuMs(of.pid), of.brokerPid === undefined ? undefined : readCpuMs(of.brokerPid)] as const;
  const [server, broker] = read();
  const outcome = await run();
  const [serverAfter, brokerAfter] = read();
  if (outcome.errors)
    throw new Error(`${outcome.errors} of ${outcome.calls} calls failed, the first: ${outcome.firstError}`);
  if (outcome.calls === 0) throw new Error("no call was made");
  const operations = outcome.calls * operationsPerCall;
  return {
    operations,
    seconds: outcome.seconds,
    serverUs: ((serverAfter - server) * 1_000) / operations,
    brokerUs:
      broker === undefined || brokerAfter === undefined ? undefined : ((brokerAfter - broker) * 1_000) / operations,
    latencyMs: outcome.latencyMs,
  };
}

/** What was not run before costs less with each pass, until it is compiled: a side is warm when it has lost less than this. */
const stillWarming = 0.8;
/** Passes in which a side warms up, at most. */
const maxWarmUps = 4;

/** Runs all sides in turns, A B A B …, each once it is warm. */
export async function interleave<const S extends readonly Side[]>(
  bench: Bench,
  sides: S,
): Promise<{ [K in keyof S]: Figure }> {
  const run = async (side: Side, name: string): Promise<Pass> => {
    const pass = await side.pass().catch((cause: unknown) => {
      throw new Error(`${side.side}, ${side.load}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    });
    bench.say(`${name.padEnd(7)}  ${describe(side, pass)}`);
    return pass;
  };
  for (const side of sides) {
    let before = Number.POSITIVE_INFINITY;
    for (let tries = 0; tries < maxWarmUps; tries++) {
      const { serverUs } = await run(side, "warm-up");
      if (serverUs > before * stillWarming) break;
      before = serverUs;
    }
  }
  const passes = sides.map((): Pass[] => []);
  for (let turn = 1; turn <= bench.passes; turn++) {
    for (const [index, side] of sides.entries()) passes[index]?.push(await run(side, `pass ${turn}`));
  }
  return sides.map((side, index): Figure => {
    const all = passes[index] ?? [];
    const { side: name, load, durability, by = ({ serverUs }) => serverUs } = side;
    return { side: name, load, durability, best: lowest(all, by), passes: all };
  }) as { [K in keyof S]: Figure };
}

function describe({ side, load }: Side, pass: Pass): string {
  const broker = pass.brokerUs === undefined ? "" : ` + ${pass.brokerUs.toFixed(1)} broker`;
  const latency =
    pass.latencyMs === undefined
      ? ""
      : `, p50 ${pass.latencyMs.p50.toFixed(2)} p99 ${pass.latencyMs.p99.toFixed(2)} ms`;
  const rate = Math.round(pass.operations / pass.seconds);
  return `${side}, ${load}: ${rate}/s, ${pass.serverUs.toFixed(1)}${broker} µs CPU${latency}`;
}
