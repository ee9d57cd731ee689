import { z } from "zod";
import type { Broker } from "./connect.ts";
import { varzSubject } from "./subjects.ts";

/** The oldest nats-server with everything that the service uses: multi_last reads, atomic batches, TTL, schedules. */
export const natsServerFloor = "2.14.0";

/** From here on, compaction keeps `sync_interval: always` (nats-server PR 8475 and 8629). */
const safeCompaction = "2.14.7";

/**
 * What holds an acknowledged write: the disk of a broker (`FSYNCED`), the memories and disks of several (`REPLICATED`), or
 * what one broker has not yet synced (`BUFFERED`).
 */
export type Durability = "FSYNCED" | "REPLICATED" | "BUFFERED";

/** What the broker's own configuration says of it. */
export interface BrokerAudit {
  readonly version: string;
  readonly durability: Durability;
  /** What an operator should know, in sentences. */
  readonly warnings: readonly string[];
  /** The largest message that the broker takes, in bytes. */
  readonly maxPayloadBytes: number;
}

/** A broker that Mustreach cannot keep its promise on. */
export class BrokerUnfitError extends Error {
  override name = "BrokerUnfitError";
}

const varz = z.object({
  data: z.object({
    jetstream: z.object({ config: z.object({ sync_always: z.boolean().optional() }).optional() }).optional(),
  }),
});

/**
 * Reads the broker's version and the durability that its configuration gives to an acknowledged write.
 *
 * @param replicas of the streams.
 * @throws {BrokerUnfitError} for a broker below {@link natsServerFloor}.
 */
export async function auditBroker(broker: Broker, replicas: number): Promise<BrokerAudit> {
  const { version = "unknown", max_payload: maxPayloadBytes = 0 } = broker.nc.info ?? {};
  if (!isAtLeast(version, natsServerFloor)) {
    throw new BrokerUnfitError(
      `The broker is nats-server ${version}; Mustreach needs ${natsServerFloor} or later. Older ones lack indexed reads and atomic batches.`,
    );
  }
  const warnings: string[] = [];
  if (!isAtLeast(version, safeCompaction)) {
    warnings.push(
      `nats-server ${version} can lose acknowledged writes in a power cut while it compacts; use ${safeCompaction} or later`,
    );
  }
  const durability = (await readSyncAlways(broker)) ? "FSYNCED" : replicas > 1 ? "REPLICATED" : "BUFFERED";
  if (durability === "BUFFERED") {
    warnings.push(
      "as far as can be read, an acknowledged notification is on one broker and perhaps not yet on its disk: a power cut can lose it. Use sync_interval: always, and let the account ask VARZ, or MUSTREACH_REPLICAS=3",
    );
  }
  return { version, durability, warnings, maxPayloadBytes };
}

/** Whether every server that answers syncs each write; false when none does or the account may not ask. */
async function readSyncAlways(broker: Broker): Promise<boolean> {
  let servers = 0;
  try {
    const answers = await broker.nc.requestMany(varzSubject, "", { strategy: "stall", stall: 200, maxWait: 2_000 });
    for await (const answer of answers) {
      servers++;
      if (!varz.parse(answer.json()).data.jetstream?.config?.sync_always) return false;
    }
  } catch {
    // No permission or another shape: what cannot be read is not claimed.
    return false;
  }
  return servers > 0;
}

/** Whether a version is another one or later. A pre-release comes before its release. */
export function isAtLeast(version: string, floor: string): boolean {
  const [release = "", preRelease] = version.split(/-(.*)/);
  const [floorRelease = "", floorPreRelease] = floor.split(/-(.*)/);
  const [is, least] = [release.split(".").map(Number), floorRelease.split(".").map(Number)];
  for (const [i, part] of least.entries()) {
    const difference = (is[i] ?? 0) - part;
    if (difference !== 0) return difference > 0;
  }
  if (preRelease === undefined || floorPreRelease === undefined) return preRelease === undefined;
  return preRelease.localeCompare(floorPreRelease, "en", { numeric: true }) >= 0;
}
