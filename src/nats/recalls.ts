import { createHash } from "node:crypto";
import { z } from "zod";
import { failure } from "../errors.ts";
import { type DirectGet, type DirectMessage, tooManyResults } from "./direct-get.ts";
import type { Publisher } from "./publish.ts";
import { inboxStream, recallFindingsSubject, toPartition } from "./subjects.ts";

/** What recalls of a send found in the inboxes: once they have removed that, nothing else can tell. */
export interface RecallFindings {
  /** Whether any inbox held the notification. */
  isAny(): boolean;
  /** Whether the device, or without one any device of the user, had acknowledged it. */
  hasAcknowledged(userId: string, deviceId?: string): boolean;
  /**
   * Adds that inboxes held it, and the users of whom devices had acknowledged it, with these. A user who is there
   * already stays as found first, by whatever instance.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, or the store is full.
   */
  add(acknowledged: ReadonlyMap<string, readonly string[]>): Promise<void>;
}

/** What all recalls found, by the key of the send, for the whole retention. */
export interface Recalls {
  /**
   * Reads what was found so far.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  open(key: string): Promise<RecallFindings>;
}

/** Devices of a user that are kept; with 500 users a record stays below 200 KB. */
const maxDevices = 32;

/** Parts asked for in the first read, which is nearly always the only one, and in those after it. */
const partsPerRead = { first: 4, more: 500 } as const;

/** Devices that had acknowledged, by user; both as {@link toHash}. */
const part = z.record(z.string(), z.array(z.string()));

/** Creates the findings of recalls, which share the inbox streams as the records of sends do. */
export function createRecalls(publisher: Publisher, get: DirectGet, partitions: number): Recalls {
  return {
    async open(key) {
      const partition = toPartition(key, partitions);
      const stream = inboxStream(partition);
      const devicesByUser = new Map<string, readonly string[]>();
      let parts = 0;

      const take = (found: Readonly<Record<string, readonly string[]>>) => {
        for (const [user, devices] of Object.entries(found)) devicesByUser.set(user, devices);
        parts++;
      };

      /** Takes the parts that follow those in hand; resolves to whether there were any. */
      const readOn = async (): Promise<boolean> => {
        const before = parts;
        for (let count: number = partsPerRead.first; ; count = partsPerRead.more) {
          const subjects = Array.from({ length: count }, (_, i) => recallFindingsSubject(partition, key, parts + i));
          const found = await get(stream, { multi_last: subjects });
          if (found === tooManyResults) throw new RangeError("too many subjects");
          for (const message of found.messages) take(decode(message));
          // A page also ends at a size.
          if (found.messages.length === 0 || (found.messages.length < count && found.pending === 0)) break;
        }
        return parts > before;
      };

      await readOn();
      return {
        isAny: () => parts > 0,
        hasAcknowledged(userId, deviceId) {
          const devices = devicesByUser.get(toHash(userId, 9)) ?? [];
          return deviceId === undefined ? devices.length > 0 : devices.includes(toHash(deviceId, 6));
        },
        async add(acknowledged) {
          for (;;) {
            const added = Object.fromEntries(
              [...acknowledged]
                .map(([userId, deviceIds]) => [toHash(userId, 9), deviceIds] as const)
                .filter(([user]) => !devicesByUser.has(user))
                .map(([user, deviceIds]) => [user, deviceIds.slice(0, maxDevices).map((id) => toHash(id, 6))]),
            );
            // The first part says that there was anything, also when nobody had acknowledged it.
            if (parts > 0 && Object.keys(added).length === 0) return;
            const subject = recallFindingsSubject(partition, key, parts);
            const payload = Buffer.from(JSON.stringify(added));
            const stored = await publisher.store(stream, { subject, payload, headers: {} });
            if (stored.kind === "stored") return take(added);
            // Another call has added the part, or an earlier try of this one.
            if (!(await readOn())) {
              throw failure("NetworkError", `the notification store refused the write: ${stored.reason}`);
            }
          }
        },
      };
    },
  };
}

function decode({ payload }: DirectMessage): Record<string, readonly string[]> {
  return part.parse(JSON.parse(Buffer.from(payload).toString("utf8")));
}

/** Ids may be long and many; this keeps a group of 100,000 to a few megabytes. */
function toHash(id: string, bytes: number): string {
  return createHash("sha256").update(id, "utf8").digest().subarray(0, bytes).toString("base64url");
}
