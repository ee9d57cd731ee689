import { createHash, randomFillSync } from "node:crypto";
import { parsePlaceId, toPlaceIds } from "../inbox/place-id.ts";

/**
 * Makes an id of 32 lower-case hex digits, OpenIM's documented form, that is ordered by time: the bytes of a UUIDv7
 * (RFC 9562) without its dashes.
 */
export function createId(timeMs: number): string {
  const bytes = takeRandom();
  bytes.writeUIntBE(timeMs, 0, 6);
  return toUuidV7(bytes);
}

/**
 * Makes the server's id of a send: as {@link createId}, but what is random there is a hash of the client message id
 * here. So both ids of a send lead to the same key, and one record answers for both.
 */
export function createServerMsgId(timeMs: number, clientMsgId: string): string {
  const bytes = createHash("sha256").update(clientMsgId, "utf8").digest().subarray(0, 16);
  bytes.writeUIntBE(timeMs, 0, 6);
  return toUuidV7(bytes);
}

/** The key of a send's record, from its client message id. */
export function keyOfClientMsgId(clientMsgId: string): string {
  return keyOfServerMsgId(createServerMsgId(0, clientMsgId));
}

/**
 * The key of a send's record, from its server message id: the 80 bits after the time, 74 of which are of the hash. Where
 * the ids are a place, that is in both, and one leads to the other.
 */
export function keyOfServerMsgId(serverMsgId: string): string {
  const place = parsePlaceId("server", serverMsgId);
  return place === undefined ? serverMsgId.slice(12) : keyOfClientMsgId(toPlaceIds(place).clientMsgId);
}

/** Random bytes are drawn for many ids at a time: one draw costs about 15 µs, whatever its size. */
const pool = Buffer.alloc(4_096);
let taken = pool.length;

function takeRandom(): Buffer {
  if (taken === pool.length) {
    randomFillSync(pool);
    taken = 0;
  }
  taken += 16;
  return Buffer.from(pool.subarray(taken - 16, taken));
}

function toUuidV7(bytes: Buffer): string {
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  return bytes.toString("hex");
}
