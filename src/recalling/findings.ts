import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Broker } from "../broker/connect.ts";
import { toRefusal } from "../broker/faults.ts";
import type { DirectGet, DirectMessage } from "../broker/reads/direct-get.ts";
import { findSurely } from "../broker/reads/leader.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import { type Clock, systemClock } from "../clock.ts";
import { decodeStored } from "../decode-stored.ts";
import {
  type RecallFindings_Recipient,
  RecallFindingsSchema,
  RecallRecordSchema,
} from "../gen/mustreach/store/v1/send_pb.ts";
import { inboxStream } from "../inbox/layout.ts";
import type { Publisher } from "../publishing/publish.ts";
import { recalledSubject, recallFindingsSubject } from "./layout.ts";

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
   * @throws NetworkError (90004) when the broker did not acknowledge in time, StoreFullError (90101) when it has no space.
   */
  add(acknowledged: ReadonlyMap<string, readonly string[]>): Promise<void>;
}

/** That a send was recalled. */
export interface RecallMark {
  /** When, in epoch milliseconds. */
  readonly atMs: number;
  /** The server message id of the send that has replaced it; empty when its sender recalled it. */
  readonly replacedBy: string;
}

/** What a send that was withdrawn is said to be. */
export function toRecallState({ replacedBy }: Pick<RecallMark, "replacedBy">): "recalled" | "collapsed" {
  return replacedBy === "" ? "recalled" : "collapsed";
}

/**
 * Which sends are recalled, and what their recalls found, by the server message id of the send, for the whole retention.
 * Each method throws NetworkError (90004) when the broker does not answer in time; `mark` also StoreFullError (90101).
 */
export interface Recalls {
  /**
   * Records that a send is recalled, and returns how it first was.
   *
   * @param replacedBy the server message id of the send that replaces it. Default: its sender recalls it.
   */
  mark(serverMsgId: string, replacedBy?: string): Promise<RecallMark>;
  /** How a send was recalled; undefined if it was not. */
  find(serverMsgId: string): Promise<RecallMark | undefined>;
  /** When a send was recalled, in epoch milliseconds; undefined if it was not. */
  recalledAt(serverMsgId: string): Promise<number | undefined>;
  /**
   * Reads what was found so far.
   *
   * @param surely also what a replica that lags behind does not have yet. Default false: whoever adds to it learns of that.
   */
  open(serverMsgId: string, surely?: boolean): Promise<RecallFindings>;
}

/** Recipients are looked at this many at a time: as many as one read of the broker answers. */
const maxChunk = 500;

/** Cuts recipients into parts that one read of the broker answers, so that a group of any size takes little memory. */
export function* chunksOf(recipients: readonly string[]): Generator<readonly string[]> {
  for (let start = 0; start < recipients.length; start += maxChunk) yield recipients.slice(start, start + maxChunk);
}

/** Devices of a user that are kept; with 500 users a record stays below 200 KB. */
const maxDevices = 32;

/** Parts asked for in the first read, which is nearly always the only one, and in those after it. */
const partsPerRead = { first: 4, more: 500 } as const;

/** Creates the records of recalls, which share the inbox streams as the records of sends do. */
export function createRecalls(
  broker: Broker,
  publisher: Publisher,
  get: DirectGet,
  partitions: number,
  clock: Clock = systemClock,
): Recalls {
  const locate = (serverMsgId: string) => {
    const send = toToken(serverMsgId);
    const partition = toPartition(send, partitions);
    return { send, partition, stream: inboxStream(partition), subject: recalledSubject(partition, send) };
  };

  const find = async (serverMsgId: string): Promise<RecallMark | undefined> => {
    const { stream, subject } = locate(serverMsgId);
    const found = await get.last(stream, subject);
    return found && toMark(found);
  };

  return {
    async mark(serverMsgId, replacedBy = "") {
      const { stream, subject } = locate(serverMsgId);
      const atMs = clock.now();
      const record = create(RecallRecordSchema, { atMs: BigInt(atMs), replacedByServerMsgId: replacedBy });
      const payload = toBinary(RecallRecordSchema, record);
      const stored = await publisher.store(stream, { subject, payload, headers: {} });
      if (stored.kind === "stored") return { atMs, replacedBy };
      const first = await findSurely(broker, get, stream, { last: subject });
      if (first === undefined) throw toRefusal(stored);
      return toMark(first);
    },
    find,
    recalledAt: async (serverMsgId) => (await find(serverMsgId))?.atMs,
    async open(serverMsgId, surely = false) {
      const { send, partition, stream } = locate(serverMsgId);
      /** Devices that had acknowledged, by user; both as {@link toHash} in base64. */
      const devicesByUser = new Map<string, ReadonlySet<string>>();
      let parts = 0;

      const take = (recipients: readonly Pick<RecallFindings_Recipient, "userHash" | "deviceHashes">[]) => {
        for (const { userHash, deviceHashes } of recipients) {
          devicesByUser.set(toText(userHash), new Set(deviceHashes.map(toText)));
        }
        parts++;
      };

      const takeAll = (found: readonly DirectMessage[]) => {
        for (const { payload } of found) take(decodeStored(RecallFindingsSchema, payload).recipients);
        return found.length;
      };

      /** Takes the parts that follow those in hand, as far as the replica that answers has them. */
      const readOn = async (): Promise<void> => {
        for (let count: number = partsPerRead.first; ; count = partsPerRead.more) {
          const subjects = Array.from({ length: count }, (_, i) => recallFindingsSubject(partition, send, parts + i));
          if (takeAll(await get.lastOf(stream, subjects)) < count) return;
        }
      };

      /** Takes all parts that follow those in hand; resolves to whether there were any. */
      const readOnSurely = async (): Promise<boolean> => {
        const before = parts;
        for (;;) {
          await readOn();
          const next = await findSurely(broker, get, stream, { last: recallFindingsSubject(partition, send, parts) });
          if (next === undefined) return parts > before;
          takeAll([next]);
        }
      };

      await (surely ? readOnSurely() : readOn());
      return {
        isAny: () => parts > 0,
        hasAcknowledged(userId, deviceId) {
          const devices = devicesByUser.get(toText(toHash(userId, 9)));
          if (devices === undefined) return false;
          return deviceId === undefined ? devices.size > 0 : devices.has(toText(toHash(deviceId, 6)));
        },
        async add(acknowledged) {
          for (;;) {
            const added = [...acknowledged]
              .map(([userId, deviceIds]) => ({ userHash: toHash(userId, 9), deviceIds }))
              .filter(({ userHash }) => !devicesByUser.has(toText(userHash)))
              .map(({ userHash, deviceIds }) => ({
                userHash,
                deviceHashes: deviceIds.slice(0, maxDevices).map((id) => toHash(id, 6)),
              }));
            // The first part says that there was anything, also when nobody had acknowledged it.
            if (parts > 0 && added.length === 0) return;
            const subject = recallFindingsSubject(partition, send, parts);
            const payload = toBinary(RecallFindingsSchema, create(RecallFindingsSchema, { recipients: added }));
            const stored = await publisher.store(stream, { subject, payload, headers: {} });
            if (stored.kind === "stored") return take(added);
            // Another call has added the part, or an earlier try of this one.
            if (!(await readOnSurely())) throw toRefusal(stored);
          }
        },
      };
    },
  };
}

function toMark({ payload }: DirectMessage): RecallMark {
  const { atMs, replacedByServerMsgId } = decodeStored(RecallRecordSchema, payload);
  return { atMs: Number(atMs), replacedBy: replacedByServerMsgId };
}

/** Ids may be long and many; this keeps a group of 100,000 to a few megabytes. */
function toHash(id: string, bytes: number): Uint8Array {
  return createHash("sha256").update(id, "utf8").digest().subarray(0, bytes);
}

function toText(hash: Uint8Array): string {
  return Buffer.from(hash).toString("base64");
}
