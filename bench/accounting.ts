import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** How fine the operating system counts CPU time, in milliseconds: a clock tick. */
export const cpuGranularityMs = 1_000 / Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

const pageBytes = Number(execFileSync("getconf", ["PAGESIZE"], { encoding: "utf8" }));

/** What `/proc/PID/stat` says of a process. */
interface ProcessStat {
  readonly parentPid: number;
  readonly cpuMs: number;
  readonly residentBytes: number;
}

/** Reads a line of `/proc/PID/stat` (proc(5)). The name of the program, in brackets, may hold anything. */
export function parseStat(line: string): ProcessStat {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const field = (number: number) => Number(fields[number - 3]);
  return {
    parentPid: field(4),
    cpuMs: (field(14) + field(15)) * cpuGranularityMs,
    residentBytes: field(24) * pageBytes,
  };
}

/** CPU time that a process and its descendants have used so far, user and system, in milliseconds. */
export function readCpuMs(pid: number): number {
  return sum(pid, ({ cpuMs }) => cpuMs);
}

/** What a process and its descendants hold in memory, in bytes. */
export function readResidentBytes(pid: number): number {
  return sum(pid, ({ residentBytes }) => residentBytes);
}

function sum(root: number, of: (stat: ProcessStat) => number): number {
  const stats = new Map<number, ProcessStat>();
  for (const name of readdirSync("/proc")) {
    const stat = /^\d+$/.test(name) ? readStat(name) : undefined;
    if (stat !== undefined) stats.set(Number(name), stat);
  }
  const isOf = (pid: number): boolean => {
    if (pid === root) return true;
    const stat = stats.get(pid);
    return stat !== undefined && stat.parentPid > 1 && isOf(stat.parentPid);
  };
  return [...stats].filter(([pid]) => isOf(pid)).reduce((total, [, stat]) => total + of(stat), 0);
}

function readStat(pid: string): ProcessStat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return undefined; // It has ended meanwhile.
  }
}
