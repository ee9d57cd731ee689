import type { Generator } from "./generator.ts";
import type { Launcher } from "./processes.ts";
import type { Target } from "./verdict.ts";

/** How durable what was measured is when it is answered. */
export type Durability = "none" | "BUFFERED" | "FSYNCED";

/** Percentiles of a latency, in milliseconds. */
export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** What one side did in one pass. */
export interface Pass {
  readonly operations: number;
  readonly seconds: number;
  /** CPU of the server an operation, in microseconds; and of the broker, if it has one. */
  readonly serverUs: number;
  readonly brokerUs?: number | undefined;
  readonly latencyMs?: Latency | undefined;
}

/** The passes of one side under one load. */
export interface Figure {
  /** `Mustreach`, `grpc-go echo`, … */
  readonly side: string;
  readonly load: string;
  readonly durability: Durability;
  /** The one that counts, and all. */
  readonly best: Pass;
  readonly passes: readonly Pass[];
}

/** One line of the table: a figure of ours against its floor in the same run. */
export interface Line {
  readonly what: string;
  readonly unit: string;
  readonly ours: number;
  readonly floor?: number | undefined;
  readonly floorIs: string;
  readonly targets: readonly Target[];
  readonly durability: Durability;
  /** What else is to be known about it. */
  readonly note?: string;
}

/** A cost over a growing number. */
export interface Curve {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly { readonly name: string; readonly points: readonly (readonly [number, number])[] }[];
}

/** What a row has found. */
export interface Findings {
  readonly lines: readonly Line[];
  readonly figures: readonly Figure[];
  readonly curves?: readonly Curve[];
}

/** What a row measures with. */
export interface Bench {
  /** Short runs: two minutes for all rows. */
  readonly quick: boolean;
  /** Passes of each side that count. */
  readonly passes: number;
  /** The load generator: a process of its own. */
  readonly load: Generator;
  readonly launch: Launcher;
  /** The programs of the peers that could be built, by name. */
  readonly peers: ReadonlyMap<"echo" | "centrifuge", string>;
  /** Prints a line for people. */
  say(line: string): void;
}

/** A row of the bench. */
export interface Row {
  /** As `--only` takes it. */
  readonly name: string;
  readonly title: string;
  run(bench: Bench): Promise<Findings>;
}
