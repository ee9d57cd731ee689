import { vi } from "vitest";
import { type ServiceProcess, startProcess } from "./process.ts";
import type { TestSettings } from "./server.ts";

/** A service of several processes. */
export interface WorkersService extends ServiceProcess {
  /** The process ids of the workers that accept, as the log tells them: those that were started last. */
  workers(): number[];
  /** Resolves when the log has `count` lines with this message. */
  logged(msg: string, count?: number): Promise<void>;
  /** What the operator's port tells: the value of a sample, of all labels unless they are given; 0 when there is none. */
  metric(sample: string): Promise<number>;
  readonly adminUrl: string;
}

/** Starts a service with two workers, unless the settings say otherwise. */
export async function startWorkers(settings: TestSettings = {}, dataDir?: string): Promise<WorkersService> {
  const service = await startProcess({ WORKERS: "2", HEARTBEAT: "1s", ...settings }, dataDir);
  const adminUrl = String(service.log.find(({ msg }) => msg === "listening")?.adminUrl);
  const count = (msg: string) => service.log.filter((line) => String(line.msg).startsWith(msg)).length;
  return {
    ...service,
    adminUrl,
    workers() {
      const pids = new Map<unknown, number>();
      for (const { msg, worker, pid } of service.log) if (msg === "a worker accepts") pids.set(worker, Number(pid));
      return [...pids.values()];
    },
    logged: (msg, expected = 1) =>
      vi.waitFor(
        () => {
          if (count(msg) < expected) throw new Error(`the log has ${count(msg)} lines ${msg}, not ${expected}`);
        },
        { interval: 50 },
      ),
    async metric(sample) {
      const text = await (await fetch(`${adminUrl}/metrics`)).text();
      const lines = text.split("\n").filter((line) => line.startsWith(`${sample} `) || line.startsWith(`${sample}{`));
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
    },
  };
}
