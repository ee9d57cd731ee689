import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { setPriority } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildGo } from "./build-go.ts";
import { drawTimes } from "./charts.ts";
import { startGenerator } from "./generator.ts";
import { describeMachine, describeMoment } from "./machine.ts";
import type { Outcome } from "./passes.ts";
import { createLauncher, tokenSecret } from "./processes.ts";

/**
 * One caller has ten times as many must-reach sends in flight as the service answers best, for a bounded time, while
 * another goes on with a few a second. Before, meanwhile and after it is measured what the other gets, what is admitted of
 * the flood, and the memory. Generator, broker and service share the machine: ratios of one run are its figures.
 */
const usage = `npm run bench:overload -- [options]

  --quick          20 s of overload instead of five minutes
  --at-once        a refused caller comes back at once, instead of when it was told to
  --out FILE       where the picture is written, and beside it the figures as .json. Default: bench/results/overload.svg
  --service DIR    the checkout that is measured. Default: this one
`;

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    "at-once": { type: "boolean", default: false },
    out: { type: "string", default: join(import.meta.dirname, "results", "overload.svg") },
    service: { type: "string", default: resolve(import.meta.dirname, "..") },
    help: { type: "boolean", default: false },
  },
});

/** With so many in flight the service answers the most a second; and what ten times that is. */
const sustained = 256;
const overloaded = 10 * sustained;

/** What the other caller sends a second, and how long one of its figures is of, in seconds. */
const otherRate = 50;
const windowSeconds = values.quick ? 2 : 5;
const overloadSeconds = values.quick ? 20 : 300;
const calmWindows = values.quick ? 5 : 6;

/** What is admitted, and what others send, may take this many times the unloaded p99. */
const aim = 3;

/** What the flood is answered in the time of one figure. */
interface FloodWindow {
  readonly answered: number;
  readonly errors: number;
  readonly latencyMs?: Outcome["latencyMs"];
}

/** What came of the flood, over its time. */
interface FloodOutcome extends Outcome {
  readonly windows?: readonly FloodWindow[];
}

/** A figure of the picture. */
interface Sample {
  readonly atSeconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly residentMiB: number;
}

const say = (line: string) => void process.stdout.write(`${line}\n`);

function residentMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1_024;
}

function medianOf(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

async function main(): Promise<void> {
  const program = buildGo().get("load");
  if (typeof program !== "string") throw new Error(`the load generator cannot be built: ${program?.reason}`);
  const launch = createLauncher({ checkout: resolve(values.service), profiles: undefined });
  const start = () => startGenerator(program, [], { BENCH_TOKEN_SECRET: tokenSecret, BENCH_RECEIVES: "true" });
  const [flooding, calling] = [start(), start()];
  try {
    const service = await launch.service();
    // A flood is others' machines: it is not to take the service's processor.
    setPriority(flooding.pid, 19);
    const { address } = service;
    const to = { prefix: "user", count: 1_000 };
    const load = { address, to, level: 2, connections: 8 };
    const flood = (inFlight: number, seconds: number) =>
      flooding.run<FloodOutcome>("send", {
        ...{ ...load, waits: !values["at-once"] },
        pace: { inFlight, seconds, windowSeconds },
      });
    const call = (seconds: number) => {
      const pace = { rate: otherRate, seconds };
      return calling.run<Outcome>("send", { ...load, connections: 1, caller: "openIMAdmin", pace });
    };

    const samples: Sample[] = [];
    const failures: string[] = [];
    let startedMs = performance.now();
    const sample = async () => {
      const { latencyMs, errors = 0, firstError } = await call(windowSeconds);
      if (errors > 0) failures.push(`${errors} of the other caller's: ${firstError}`);
      const atSeconds = (performance.now() - startedMs) / 1_000;
      const [p50 = Number.NaN, p99 = Number.NaN] = [latencyMs?.p50, latencyMs?.p99];
      samples.push({ atSeconds, p50, p99, residentMiB: residentMiB(service.pid) });
    };
    const phase = async (windows: number) => {
      const from = samples.length;
      for (let i = 0; i < windows; i++) await sample();
      return samples.slice(from);
    };

    await flood(sustained, 5);
    await call(2);
    startedMs = performance.now();
    const before = await phase(calmWindows);
    const capacity = await flood(sustained, windowSeconds * 2);
    const begunAt = (performance.now() - startedMs) / 1_000;
    let isOver = false;
    const flooded = flood(overloaded, overloadSeconds).finally(() => {
      isOver = true;
    });
    const during: Sample[] = [];
    while (!isOver) during.push(...(await phase(1)));
    const outcome = await flooded;
    const endedAt = (performance.now() - startedMs) / 1_000;
    const after = await phase(calmWindows);

    const rate = ({ calls, errors = 0, seconds }: Outcome) => Math.round((calls - errors) / seconds);
    const of = (each: readonly Sample[], pick: (sample: Sample) => number) => medianOf(each.map(pick));
    const refused = outcome.errors ?? 0;
    say(`${describeMachine(resolve(values.service)).node}, ${JSON.stringify(describeMoment())}`);
    say(`sustained   ${sustained} in flight: ${rate(capacity)}/s, ${told(capacity)}; ${capacity.errors} refused`);
    say(`overload    ${overloaded} in flight for ${overloadSeconds} s: ${rate(outcome)}/s admitted, ${told(outcome)}`);
    say(
      `            refused: ${refused}, ${Math.round(refused / outcome.seconds)}/s; the first: ${outcome.firstError}`,
    );
    for (const [name, phase] of Object.entries({ before, during, after })) {
      const [p50, p99] = [of(phase, (one) => one.p50), of(phase, (one) => one.p99)];
      const most = Math.max(...phase.map((one) => one.residentMiB));
      say(
        `other       ${name.padEnd(7)} p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms; resident ${Math.round(most)} MiB`,
      );
    }
    for (const failure of failures) say(`FAILED      ${failure}`);

    // Without the first and the last, which are of the beginning and the end.
    const windows = outcome.windows ?? [];
    const steady = windows.slice(1, -1);
    const unloaded = of(before, (one) => one.p99);
    const most = (each: readonly Sample[]) => Math.max(...each.map((one) => one.residentMiB));
    const half = Math.ceil(during.length / 2);
    const verdicts = [
      verdict("what is admitted, p99 against unloaded", medianOf(steady.map(p99Of)) / unloaded, aim),
      verdict("the other caller, p99 against unloaded", of(during, (one) => one.p99) / unloaded, aim),
      verdict("the other caller afterwards, p99 against before", of(after, (one) => one.p99) / unloaded, aim),
      verdict("memory, second half against first", most(during.slice(half)) / most(during.slice(0, half)), 1.1),
      verdict("calls of the other that failed", failures.length, 0),
    ];
    for (const { what, value, atMost, isMet } of verdicts) {
      say(`${isMet ? "met   " : "MISSED"}      ${what}: ${value.toFixed(2)}, at most ${atMost}`);
    }
    const points = (pick: (sample: Sample) => number) => samples.map((one) => [one.atSeconds, pick(one)] as const);
    const picture = drawTimes({
      title: `${overloaded} sends in flight, ten times what is answered best, for ${overloadSeconds} s; another caller's sends meanwhile`,
      marked: [begunAt, endedAt],
      panels: [
        {
          yLabel: "the other caller's latency, ms",
          series: [
            { name: "p50", points: points((one) => one.p50) },
            { name: "p99", points: points((one) => one.p99) },
          ],
        },
        {
          yLabel: "latency of what is admitted of the flood, ms",
          series: [
            { name: "p50", points: floodPoints(windows, begunAt, ({ latencyMs }) => latencyMs?.p50 ?? Number.NaN) },
            { name: "p99", points: floodPoints(windows, begunAt, p99Of) },
          ],
        },
        {
          yLabel: "the flood, a second",
          series: [
            { name: "admitted", points: floodPoints(windows, begunAt, ({ answered }) => answered / windowSeconds) },
            { name: "refused", points: floodPoints(windows, begunAt, ({ errors }) => errors / windowSeconds) },
          ],
        },
        {
          yLabel: "memory of the service, MiB",
          series: [{ name: "resident", points: points((one) => one.residentMiB) }],
        },
      ],
    });
    const out = resolve(values.out);
    mkdirSync(resolve(out, ".."), { recursive: true });
    writeFileSync(out, picture);
    const figures = { machine: describeMachine(resolve(values.service)), capacity, outcome, samples, verdicts };
    const json = `${out.replace(/\.svg$/, "")}.json`;
    writeFileSync(json, `${JSON.stringify(figures, null, 2)}\n`);
    say(`written to ${out} and ${json}`);
  } finally {
    await Promise.all([flooding.stop(), calling.stop()]);
    await launch.stopAll();
  }
}

function p99Of({ latencyMs }: FloodWindow): number {
  return latencyMs?.p99 ?? Number.NaN;
}

function verdict(what: string, value: number, atMost: number) {
  return { what, value, atMost, isMet: value <= atMost };
}

/** The last is of what ended after the flood, and no time of its own. */
function floodPoints(windows: readonly FloodWindow[], begunAt: number, pick: (window: FloodWindow) => number) {
  return windows
    .slice(0, -1)
    .map((window, index) => [begunAt + (index + 1) * windowSeconds, pick(window)] as const)
    .filter(([, value]) => !Number.isNaN(value));
}

function told({ latencyMs }: Outcome): string {
  return `p50 ${latencyMs?.p50.toFixed(1)} ms, p99 ${latencyMs?.p99.toFixed(1)} ms`;
}

if (values.help) say(usage);
else await main();
process.exit();
