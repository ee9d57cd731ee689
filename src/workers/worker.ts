import { hasQuota } from "../admission/quota.ts";
import { type BrokerPlace, dialTo, nowhere } from "../broker/dial.ts";
import { type Foundation, openFoundation } from "../foundation.ts";
import { createLog, flushLog } from "../observe/log.ts";
import { createServing } from "../serving.ts";
import { boundYoungGeneration } from "../young-generation.ts";
import type { PrimaryCalls, WorkerCalls, WorkerStart } from "./calls.ts";
import { createRemote } from "./central.ts";
import { createLink } from "./link.ts";
import { workerPortFd } from "./process.ts";

/** Runs a worker in this process, as the primary at the other end of its channel asks. */
function runWorker(worker: number): void {
  const log = createLog("info", undefined, { worker });
  boundYoungGeneration();
  let place: BrokerPlace = { address: nowhere, seed: new Uint8Array() };
  let building:
    | Promise<{ readonly foundation: Foundation; readonly serving: ReturnType<typeof createServing> }>
    | undefined;
  const stopping = new AbortController();
  let hasDrained = false;

  const built = () => building ?? Promise.reject(new Error("the worker has not been started"));

  const build = async ({ config, workers, embedded, certificates }: WorkerStart) => {
    const foundation = await openFoundation({
      ...{ config, log },
      embedded: embedded && { url: `nats://${embedded.address}`, dial: dialTo(() => place, askWhere) },
    });
    const { tokenSecret: current, tokenSecretPrevious: previous } = config;
    const at = { fd: workerPortFd };
    const { quota, ...counted } = createRemote(primary);
    const serving = createServing({
      foundation,
      secrets: { current, previous },
      at,
      ...counted,
      quota: hasQuota(config) ? quota : undefined,
      processes: workers,
      certificates,
      stopping: stopping.signal,
    });
    return { foundation, serving };
  };

  const calls: WorkerCalls = {
    async start(options) {
      log.level = options.config.logLevel;
      place = options.embedded ?? place;
      building = build(options);
      return (await building).serving.listen();
    },
    beat() {},
    broker(moved) {
      place = moved;
    },
    async reload({ secrets, logLevel }) {
      await (await built()).serving.reload(secrets, logLevel);
    },
    async renewTls(certificates) {
      await (await built()).serving.renewTls(certificates);
    },
    readiness: async () => (await built()).serving.health.readiness(),
    metrics: async () => (await built()).foundation.metrics.snapshot(),
    async closePort() {
      stopping.abort();
      await (await built()).serving.closePort();
    },
    async drain(lingerMs) {
      const { foundation, serving } = await built();
      await serving.drain(lingerMs);
      await foundation.close();
      hasDrained = true;
      return foundation.metrics.snapshot();
    },
  };
  const primary = createLink<WorkerCalls, PrimaryCalls>(process, calls);

  // By then its port may be anybody's: until the primary has said where the broker is, it is nowhere.
  function askWhere(): void {
    place = { ...place, address: nowhere };
    primary.ask("broker", undefined).then(calls.broker, () => {});
  }

  // A stop, a reload and the end of the terminal are the primary's to see to: a signal for the whole group is none for us.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"] as const) process.on(signal, () => {});
  process.on("disconnect", () => {
    void flushLog(log).then(() => process.exit(hasDrained ? 0 : 1));
  });
}

if (import.meta.main) runWorker(Number(process.argv[2]));
