import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ServiceProcess, startProcess } from "../helpers/process.ts";
import type { Surroundings } from "./program.ts";
import { type Relay, startRelay } from "./relay.ts";

/** The service that clients are put through the vectors with. */
export interface Stage extends Awaited<ReturnType<typeof setStage>> {}

/** The steps in which the service ends and starts again: how it ends, and whether it keeps what is stored. */
const restarts: Readonly<Record<string, { readonly signal: NodeJS.Signals; readonly keepsStore: boolean }>> = {
  "send while the service restarts": { signal: "SIGTERM", keepsStore: true },
  "restart with an empty store": { signal: "SIGKILL", keepsStore: false },
};

export async function setStage() {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-clients-"));
  const relays: Relay[] = [];
  let service = await startProcess();
  const services: ServiceProcess[] = [service];
  await writeFile(join(dir, "admin-token"), await service.adminToken());
  const port = () => Number(new URL(service.url).port);

  return {
    service: () => service,
    /** Ends the service, if it restarts in this step. */
    async stop(step: string): Promise<void> {
      const { signal } = restarts[step] ?? {};
      if (signal !== undefined) await service.kill(signal);
    },
    /** Starts it again, if it restarts in this step. */
    async startAgain(step: string): Promise<void> {
      const { keepsStore } = restarts[step] ?? {};
      if (keepsStore === undefined) return;
      service = await startProcess({}, keepsStore ? service.dataDir : undefined);
      services.push(service);
      for (const relay of relays) relay.leadTo(port());
    },
    /** What a client finds: its relay to the service, and the files of its tokens. */
    async enter(name: string) {
      const relay = await startRelay();
      relay.leadTo(port());
      relays.push(relay);
      const at = (file: string): Surroundings => ({
        address: relay.address,
        tokenFile: join(dir, file),
        deviceId: "phone",
        stateFile: join(dir, `${name}.state`),
      });
      return {
        admin: at("admin-token"),
        user: at(`${name}.token`),
        relay,
        /** Puts a token where the receiver looks for it, in one piece: one that is half written would be a wrong one. */
        async give(token: string): Promise<void> {
          const draft = join(dir, `${name}.new-token`);
          await writeFile(draft, token);
          await rename(draft, join(dir, `${name}.token`));
        },
      };
    },
    async remove(): Promise<void> {
      for (const relay of relays) relay.close();
      for (const started of services) await started.remove();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
