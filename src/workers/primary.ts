import { createTokenMinter } from "../auth/mint-token.ts";
import type { TokenSecrets } from "../auth/secret.ts";
import { nowhere } from "../broker/dial.ts";
import type { EmbeddedBroker } from "../embedded/start.ts";
import { checkReadiness, type Foundation } from "../foundation.ts";
import { atMostEvery } from "../observe/at-most-every.ts";
import { createHealth } from "../observe/health.ts";
import { noneReplaced, type Serving } from "../serving.ts";
import type { TlsMaterial } from "../tls/tls.ts";
import { createCentral } from "./central.ts";
import { type Crew, startCrew } from "./crew.ts";
import { addReadiness } from "./health.ts";
import { openSharedPort, type SharedPort } from "./port.ts";
import { createTotals } from "./totals.ts";

export interface PrimaryOptions {
  /** The primary's own. */
  readonly foundation: Foundation;
  /** The token secrets in force. */
  readonly secrets: TokenSecrets;
  readonly embedded: EmbeddedBroker | undefined;
  /** The certificates of the port, as they are when it is called; undefined where it speaks no TLS. */
  readonly certificates: (() => TlsMaterial) | undefined;
  /** Aborted when the instance stops: from then on it is not ready. */
  readonly stopping: AbortSignal;
  /** How many workers. */
  readonly workers: number;
  /** Called when no worker serves and none can be started. */
  readonly onHopeless: (reason: unknown) => void;
}

/** What a worker may take beyond MUSTREACH_DRAIN_TIMEOUT, in milliseconds: it stores cursors, and the broker may be slow. */
const drainMarginMs = 10_000;

/** How long metrics are given again, in milliseconds. */
const keptMs = 1_000;

/** Doors and sessions in processes of their own, which `listen` starts: here is what owns the port and their life. */
export function createPrimary({
  foundation,
  embedded,
  certificates,
  stopping,
  workers,
  onHopeless,
  ...options
}: PrimaryOptions): Serving {
  const { log, metrics } = foundation;
  let { config } = foundation;
  let { secrets } = options;
  let port: SharedPort | undefined;
  let crew: Crew | undefined;
  const totals = createTotals(metrics.snapshot);

  const place = () => embedded?.place() ?? { address: nowhere, seed: new Uint8Array() };
  embedded?.onMove(() => {
    for (const worker of crew?.processes() ?? []) worker.ask("broker", place()).catch(() => {});
  });

  const members = () => crew?.members() ?? [];

  const look = async () => {
    const own = await checkReadiness(foundation, 0, stopping);
    return stopping.aborted ? own : addReadiness(own, members(), workers);
  };

  const minter = () => createTokenMinter({ secret: secrets.current, ttlMs: config.tokenTtl });
  let mint = minter();

  return {
    health: createHealth(look, stopping),
    metrics: { text: atMostEvery(keptMs, () => totals.text(crew?.measured() ?? [])) },
    mint: (subject) => mint(subject),
    async listen() {
      port = await openSharedPort(config);
      crew = await startCrew(workers, {
        portFd: port.fd,
        start: () => ({
          config: { ...config, tokenSecret: secrets.current, tokenSecretPrevious: secrets.previous },
          workers,
          embedded: embedded && place(),
          certificates: certificates?.(),
        }),
        central: createCentral(config, place),
        drainMs: config.drainTimeout + drainMarginMs,
        onEnd: totals.keep,
        onHopeless,
        log,
      }).catch((error: unknown) => {
        port?.close();
        throw error;
      });
      const [first] = members();
      if (first === undefined) throw new Error("no worker accepts");
      return first.address;
    },
    async renewTls(next) {
      await Promise.all((crew?.processes() ?? []).map((worker) => worker.ask("renewTls", next).catch(() => {})));
    },
    async reload(next, logLevel) {
      log.level = logLevel;
      secrets = next;
      config = { ...config, logLevel };
      mint = minter();
      const serving = new Set(members().map(({ pid }) => pid));
      const asked = (crew?.processes() ?? []).map(async (worker) => {
        const done = worker.ask("reload", { secrets: next, logLevel }).catch(() => {});
        // One that is starting may wait for the broker.
        if (serving.has(worker.pid)) await done;
      });
      await Promise.all(asked);
    },
    async renew() {
      await crew?.renew();
    },
    replaced: () => crew?.replaced ?? noneReplaced,
    async drain() {
      // By ours, connections would go on being taken into its queue, and be reset when the last worker is gone.
      port?.close();
      await crew?.drain();
    },
  };
}
