import { z } from "zod";
import { type Addressing, isFor } from "../addressing.ts";
import type { Broker } from "../broker/connect.ts";
import type { DirectMessage } from "../broker/reads/direct-get.ts";
import type { Records } from "../broker/reads/records.ts";
import { remove } from "../broker/write.ts";
import type { Epochs } from "../inbox/epochs.ts";
import type { Position } from "../inbox/lineage.ts";
import { cursorFilter, cursorStream } from "./layout.ts";

/** How far a device has acknowledged. */
export interface DeviceCursor {
  readonly deviceId: string;
  readonly sequence: number;
  /** The device began after this: it was sent nothing up to it. Default 0: at the oldest notification. */
  readonly began?: number | undefined;
  /** When it was stored, in epoch milliseconds. */
  readonly storedAtMs: number;
}

/** Whether a device has got what is at a sequence: it is for it, came after it began, and it has acknowledged it. */
export function hasGot(cursor: DeviceCursor, sequence: number, devices: Addressing | undefined): boolean {
  const { began = 0, deviceId } = cursor;
  return began < sequence && sequence <= cursor.sequence && isFor(devices, deviceId);
}

/** What cursors need of the epochs. */
export interface CursorEpochs {
  readonly of: Pick<Epochs, "refresh" | "meet" | "placeOf" | "replacements">;
  readonly partitions: number;
}

/** Positions as their sequences say. */
export const asStored: CursorEpochs = {
  of: { refresh: async () => {}, meet: async () => {}, placeOf: (_, { sequence }) => sequence, replacements: () => 0 },
  partitions: 1,
};

/** A cursor as it is stored. */
export interface CursorRecord {
  readonly deviceId: string;
  readonly position: Position;
  /** See {@link DeviceCursor.began}. */
  readonly began: Position | undefined;
}

/** Where a device begins that was not sent what is before: there in any case, or if it has no cursor yet. */
export interface Beginning {
  readonly position: Position;
  readonly isOfAny: boolean;
}

const place = z.object({ sequence: z.number(), epoch: z.string().default("") });
const stored = place.extend({ deviceId: z.string(), began: place.optional() });

export function encodeCursor({ deviceId, position, began }: CursorRecord): Uint8Array {
  return Buffer.from(JSON.stringify({ deviceId, ...position, began }));
}

export function decodeCursor(value: Uint8Array): CursorRecord {
  const { deviceId, sequence, epoch, began } = stored.parse(JSON.parse(Buffer.from(value).toString("utf8")));
  return { deviceId, position: { sequence, epoch }, began };
}

/** A read asks for this many users at a time: multi_last looks at most 1,024 cursors up. */
const usersPerRead = 500;

/** Cursors that a trim removes at most, so that it takes no long time; there are more only if the limit was lowered. */
const maxRemoved = 100;

/**
 * The stored cursors of some users, by their tokens.
 *
 * @throws NetworkError (90004) when the broker does not answer in time.
 */
export async function readCursors(records: Records, users: readonly string[]): Promise<readonly DirectMessage[]> {
  const messages: DirectMessage[] = [];
  for (let start = 0; start < users.length; start += usersPerRead) {
    messages.push(...(await records.under(users.slice(start, start + usersPerRead).map(cursorFilter))));
  }
  return messages;
}

/**
 * Removes a user's oldest cursors when there are more than the limit: those of devices that have acknowledged nothing
 * for the longest time.
 *
 * @throws NetworkError (90004) when the broker does not answer in time; what is not removed is when the next comes.
 */
export async function trimCursors(
  { broker, records, maxDevices }: { readonly broker: Broker; readonly records: Records; readonly maxDevices: number },
  user: string,
): Promise<void> {
  const cursors = await readCursors(records, [user]);
  const surplus = Math.max(0, Math.min(cursors.length - maxDevices, maxRemoved));
  // A cursor is stored anew whenever it moves, so the lowest sequences are of the longest idle.
  const oldest = cursors.toSorted((a, b) => a.sequence - b.sequence).slice(0, surplus);
  // By their sequences: a device that has acknowledged something since keeps its new one.
  await Promise.all(oldest.map(({ sequence }) => remove(broker, cursorStream, sequence, false)));
}
