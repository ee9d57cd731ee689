import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildGo } from "./build-go.ts";
import { type Generator, startGenerator } from "./generator.ts";
import { describeMachine, describeMoment } from "./machine.ts";
import { createLauncher, type Launcher, tokenSecret } from "./processes.ts";
import { type Results, type RowResult, toLines, writeResults } from "./report.ts";
import type { Bench, Row } from "./row.ts";
import { batchSend } from "./rows/batch-send.ts";
import { doors } from "./rows/doors.ts";
import { drain } from "./rows/drain.ts";
import { groupSend } from "./rows/group-send.ts";
import { growth } from "./rows/growth.ts";
import { grpcSend } from "./rows/grpc-send.ts";
import { idleMemory } from "./rows/idle-memory.ts";
import { openReceiver } from "./rows/open-receiver.ts";
import { push } from "./rows/push.ts";
import { reach } from "./rows/reach.ts";
import { reconnect } from "./rows/reconnect.ts";
import { restSend } from "./rows/rest-send.ts";
import { storedSend } from "./rows/stored-send.ts";

/** In the order in which they run: the quick ones first. */
const rows: readonly Row[] = [
  ...[grpcSend, restSend, push, idleMemory, doors, openReceiver, reconnect],
  ...[drain, storedSend, batchSend, reach, groupSend, growth],
];

const usage = `npm run bench -- [options], or mustreach bench [options]

Measures this service against floors in the same run, and prints and writes what it has found.

  --only ROW       only this row; may be given several times: ${rows.map(({ name }) => name).join(", ")}
  --quick          short runs: two minutes for all rows, on a quiet machine
  --passes N       passes of each side that count, besides the warm-up. Default: 5, with --quick 2
  --out DIR        where results.json, results.md and the charts are written. Default: bench/results
  --service DIR    the checkout that is measured. Default: this one
  --cpu-prof DIR   writes a CPU profile of each service there
`;

/** What was called for. Ends the process when that is wrong. */
function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: "string", multiple: true },
        quick: { type: "boolean", default: false },
        passes: { type: "string" },
        out: { type: "string", default: join(import.meta.dirname, "results") },
        service: { type: "string", default: resolve(import.meta.dirname, "..") },
        "cpu-prof": { type: "string" },
        help: { type: "boolean", default: false },
      },
    });
    const unknown = values.only?.find((name) => rows.every((row) => row.name !== name));
    if (unknown === undefined) return values;
    return fail(`no row ${unknown}: there are ${rows.map(({ name }) => name).join(", ")}`, 2);
  } catch (error) {
    return fail(`${error instanceof Error ? error.message : error} (--help for the options)`, 2);
  }
}

/** Ends the process with a line for people. */
function fail(problem: string, exitCode: number): never {
  process.stderr.write(`${problem}\n`);
  process.exit(exitCode);
}

const values = readOptions();

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<void> {
  if (process.platform !== "linux") fail("CPU is read from /proc: the bench runs on Linux", 1);
  const checkout = resolve(values.service);
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });

  say("building the generator and the peers");
  const programs = buildGo();
  const skipped: string[] = [];
  const peers = new Map<"echo" | "centrifuge", string>();
  for (const [name, built] of programs) {
    if (typeof built !== "string") skipped.push(`${name}: ${built.reason}`);
    else if (name !== "load") peers.set(name, built);
  }
  for (const line of skipped) say(`skipped  ${line}`);
  const generator = programs.get("load");
  if (typeof generator !== "string") fail("the load generator is written in Go, and cannot be built", 1);

  const profiles = values["cpu-prof"] && resolve(values["cpu-prof"]);
  const launch = createLauncher({ checkout, profiles });
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => void launch.stopAll().finally(() => process.exit(130)));
  }
  const proto = readFileSync(join(checkout, "proto", "mustreach", "delivery", "v1", "delivery.proto"), "utf8");
  const receives = String(proto.includes("rpc Receive("));
  const results: RowResult[] = [];
  const machine = describeMachine(checkout);
  try {
    for (const row of rows) {
      if (values.only !== undefined && !values.only.includes(row.name)) continue;
      results.push(await runRow(row, { generator, receives, peers, launch }));
      const all: Results = { machine, quick: values.quick, rows: results, skipped };
      writeResults(out, all);
    }
  } finally {
    await launch.stopAll();
  }
  say(`\n${toLines(results).join("\n")}\n\nwritten to ${out}`);
}

interface Means {
  readonly generator: string;
  /** `true` when the service has devices receive in one stream of both directions. */
  readonly receives: string;
  readonly peers: Bench["peers"];
  readonly launch: Launcher;
}

/** Runs a row with a generator of its own. A row that fails is a result too. */
async function runRow(row: Row, { generator, receives, peers, launch }: Means): Promise<RowResult> {
  say(`\n${row.name}: ${row.title}`);
  const load: Generator = startGenerator(generator, [], { BENCH_TOKEN_SECRET: tokenSecret, BENCH_RECEIVES: receives });
  const moment = describeMoment();
  const startedAt = performance.now();
  const passes = Number(values.passes ?? (values.quick ? 2 : 5));
  const bench: Bench = { quick: values.quick, passes, load, launch, peers, say: (line) => say(`  ${line}`) };
  const done = () => ({ name: row.name, title: row.title, moment, seconds: (performance.now() - startedAt) / 1_000 });
  try {
    const findings = await row.run(bench);
    return { ...done(), ...findings };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    say(`  FAILED  ${problem}`);
    await launch.stopAll();
    return { ...done(), lines: [], figures: [], problem };
  } finally {
    await load.stop();
  }
}

if (values.help) process.stdout.write(usage);
else await main();
process.exit();
