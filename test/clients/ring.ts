import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceProcess } from "../helpers/process.ts";
import type { Program, Running, Surroundings, TlsFiles } from "./program.ts";
import { expectLine, lineOf } from "./scenario.ts";

/** What the clients of a ring have for TLS. */
interface RingOptions {
  readonly sending: TlsFiles;
  readonly receiving: TlsFiles;
}

/**
 * Every client receives, and sends to the next one, through one service, all at the same time. Resolves to the way round, in
 * words.
 *
 * @throws what a client should have got and what it has got instead.
 */
export async function runRing(
  programs: ReadonlyMap<string, Program>,
  service: ServiceProcess,
  { sending, receiving }: RingOptions = { sending: {}, receiving: {} },
): Promise<string> {
  const names = [...programs.keys()];
  const dir = await mkdtemp(join(tmpdir(), "mustreach-ring-"));
  const runs: Running[] = [];
  const around = (name: string, tokenFile: string): Surroundings => ({
    address: new URL(service.url).host,
    tokenFile: join(dir, tokenFile),
    deviceId: `device of ${name}`,
    stateFile: join(dir, `${name}.state`),
  });

  async function sendOn(name: string, next: string): Promise<void> {
    const receiver = await programs.get(next)?.run(["receive"], { ...around(next, `${next}.token`), ...receiving });
    const data = JSON.stringify({ from: name, to: next });
    const send = ["send", next, `${name} to ${next}`, "ring", data];
    const sender = await programs.get(name)?.run(send, { ...around(name, "admin"), ...sending });
    if (receiver === undefined || sender === undefined) throw new Error(`${name} is not there`);
    runs.push(receiver, sender);
    expectLine(await lineOf(sender), ["sent", `${name} to ${next}`, undefined]);
    expectLine(await lineOf(receiver), ["ready", undefined]);
    expectLine(await lineOf(receiver), ["notification", undefined, `${name} to ${next}`, "ring", data]);
  }

  try {
    await writeFile(join(dir, "admin"), await service.adminToken());
    for (const name of names) await writeFile(join(dir, `${name}.token`), await service.userToken(name));
    await Promise.all(names.map((name, index) => sendOn(name, names[(index + 1) % names.length] ?? name)));
    return [...names, names[0]].join(" -> ");
  } catch (error) {
    const complaints = runs.map((running) => running.complaints).join("");
    throw new Error(`${error instanceof Error ? error.message : error}\n${complaints}`, { cause: error });
  } finally {
    await Promise.all(runs.map((running) => running.kill()));
    await rm(dir, { recursive: true, force: true });
  }
}
