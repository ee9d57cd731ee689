import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** A process that is told what to do, line by line. */
export interface Generator {
  readonly pid: number;
  /** Has it do something; resolves to what it answers. */
  run<R>(op: string, args: object): Promise<R>;
  stop(): Promise<void>;
}

interface Reply {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** Starts a program that answers commands as JSON, one a line. */
export function startGenerator(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Generator {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "inherit"] });
  return attachGenerator(child);
}

/** The commands of a program that runs. Lines that are no answers are passed over. */
export function attachGenerator(child: ChildProcess): Generator {
  const { stdin, stdout, pid } = child;
  if (stdin === null || stdout === null || pid === undefined) throw new Error("the program did not start");
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let next = 0;
  createInterface({ input: stdout }).on("line", (line) => {
    const { id, result, error } = JSON.parse(line) as Reply;
    const asked = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) asked?.resolve(result);
    else asked?.reject(new Error(error));
  });
  child.once("exit", (code, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`the generator ended (${signal ?? code})`));
  });
  return {
    pid,
    run<R>(op: string, args: object) {
      const asked = Promise.withResolvers<unknown>();
      const id = ++next;
      waiting.set(id, asked);
      stdin.write(`${JSON.stringify({ id, op, args })}\n`);
      return asked.promise as Promise<R>;
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}
