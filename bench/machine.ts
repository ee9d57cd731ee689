import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { cpuGranularityMs } from "./accounting.ts";

/** What was measured, and on what. */
export interface Machine {
  readonly at: string;
  readonly commit: string;
  readonly node: string;
  readonly processor: string;
  readonly cores: number;
  readonly kernel: string;
  readonly cpuGranularityMs: number;
  /** Settings of the service that the environment has given, by name. */
  readonly settings: readonly string[];
}

/** Describes the machine, and the commit of the checkout that is measured. */
export function describeMachine(checkout: string): Machine {
  const git = (...args: string[]) => execFileSync("git", args, { cwd: checkout, encoding: "utf8" }).trim();
  const isChanged = git("status", "--porcelain", "src", "package-lock.json") !== "";
  return {
    at: new Date().toISOString(),
    commit: `${git("rev-parse", "--short", "HEAD")}${isChanged ? ", with changes" : ""}`,
    node: process.version,
    processor: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    kernel: readFileSync("/proc/sys/kernel/osrelease", "utf8").trim(),
    cpuGranularityMs,
    settings: Object.keys(process.env).filter((name) => name.startsWith("MUSTREACH_")),
  };
}

/** How busy the machine is before a row begins. */
export interface Moment {
  readonly at: string;
  /** Processes that want to run, over the last minute. */
  readonly loadAverage: number;
}

/** Looks at the machine. */
export function describeMoment(): Moment {
  return { at: new Date().toISOString(), loadAverage: loadavg()[0] ?? 0 };
}
