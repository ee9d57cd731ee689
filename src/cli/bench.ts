import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";

/** The bench, in a checkout. */
const program = join(import.meta.dirname, "..", "..", "bench", "main.ts");

/** `bench`: what `npm run bench` does, with the same options. */
export function benchCommand(): Command {
  return new Command("bench")
    .description("measure this service against floors: what `npm run bench` does in a checkout, with its options")
    .argument("[options...]")
    .allowUnknownOption()
    .helpOption(false)
    .action(async (options: string[]) => {
      if (!existsSync(program)) throw new Error("the bench is a part of the sources, and not beside this installation");
      const bench = spawn(process.execPath, [program, ...options], { stdio: "inherit" });
      // It stops what it has started, and then itself.
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => bench.kill(signal));
      const [code] = await once(bench, "exit");
      process.exitCode = code ?? 1;
    });
}
