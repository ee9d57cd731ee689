import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startProcess } from "../helpers/process.ts";
import type { Program, Running, Surroundings } from "./program.ts";
import { expectLine, lineOf } from "./scenario.ts";

/**
 * Every client receives, and sends to the next one, through one service. Resolves to the way round, in words.
 *
 * @throws what a client should have got and what it has got instead.
 */
export async function runRing(programs: ReadonlyMap<string, Program>): Promise<string> {
  const names = [...programs.keys()];
  const dir = await mkdtemp(join(tmpdir(), "mustreach-ring-"));
  const service = await startProcess();
  const runs: Running[] = [];
  try {
    await writeFile(join(dir, "admin"), await service.adminToken());
    const around = (name: string, tokenFile: string): Surroundings => ({
      address: new URL(service.url).host,
      tokenFile: join(dir, tokenFile),
      deviceId: `device of ${name}`,
      stateFile: join(dir, `${name}.state`),
    });
    for (const [index, name] of names.entries()) {
      const program = programs.get(name);
      const next = names[(index + 1) % names.length] ?? name;
      await writeFile(join(dir, next), await service.userToken(next));
      const receiver = await programs.get(next)?.run(["receive"], around(next, next));
      const data = JSON.stringify({ from: name, to: next });
      const sender = await program?.run(["send", next, `${name} to ${next}`, "ring", data], around(name, "admin"));
      if (receiver === undefined || sender === undefined) throw new Error(`${name} is not there`);
      runs.push(receiver, sender);
      expectLine(await lineOf(sender), ["sent", `${name} to ${next}`, undefined]);
      expectLine(await lineOf(receiver), ["ready", undefined]);
      expectLine(await lineOf(receiver), ["notification", undefined, `${name} to ${next}`, "ring", data]);
    }
    return [...names, names[0]].join(" -> ");
  } catch (error) {
    const complaints = runs.map((running) => running.complaints).join("");
    throw new Error(`${error instanceof Error ? error.message : error}\n${complaints}`, { cause: error });
  } finally {
    await Promise.all(runs.map((running) => running.kill()));
    await service.remove();
    await rm(dir, { recursive: true, force: true });
  }
}
