import { randomFillSync } from "node:crypto";
import { toToken } from "../broker/subjects.ts";

/** Where a notification is stored whose ids are that place. */
export interface ItemPlace {
  readonly partition: number;
  readonly sequence: number;
  /** 64 random bits, as 16 lower-case hex digits. */
  readonly random: string;
}

/** The ids of a notification, OpenIM's documented 32 lower-case hex digits each. */
export interface NotificationIds {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
}

/**
 * What tells the two ids of a place apart, and both from recorded ones, which have the 7 of a UUIDv7 there: the digit
 * after the sequence.
 */
const marks = { server: "8", client: "9" } as const;

/** An id has 48 bits for the sequence. */
export const maxPlacedSequence = 2 ** 48 - 1;

/** No token of an id begins with it. */
const tokenMark = "~";

/** Draws what is random of a place. */
export function drawRandom(): string {
  if (taken === pool.length) {
    randomFillSync(pool);
    taken = 0;
  }
  taken += 8;
  return pool.toString("hex", taken - 8, taken);
}

/** Random bytes are drawn for many places at a time: one draw costs about 15 µs, whatever its size. */
const pool = Buffer.alloc(4_096);
let taken = pool.length;

/** The ids of what is stored at a place: its sequence, which of the two it is, its partition and what is random. */
export function toPlaceIds({ partition, sequence, random }: ItemPlace): NotificationIds {
  if (sequence > maxPlacedSequence) throw new RangeError(`the sequence ${sequence} has no id`);
  const first = sequence.toString(16).padStart(12, "0");
  const last = partition.toString(16).padStart(3, "0") + random;
  return { serverMsgId: first + marks.server + last, clientMsgId: first + marks.client + last };
}

/** The place that an id is; undefined for one that is none. Anybody may have made it up: see what is there. */
export function parsePlaceId(kind: keyof typeof marks, id: string): ItemPlace | undefined {
  if (id.length !== 32 || id[12] !== marks[kind] || !/^[0-9a-f]{32}$/.test(id)) return undefined;
  return {
    sequence: Number.parseInt(id.slice(0, 12), 16),
    partition: Number.parseInt(id.slice(13, 16), 16),
    random: id.slice(16),
  };
}

/** The token of a place in an inbox. */
export function placeToken(random: string): string {
  return tokenMark + random;
}

/** The ids of a stored notification that has none in its bytes, by its subject; undefined for one that has. */
export function placeIdsOf(subject: string, sequence: number): NotificationIds | undefined {
  const begin = subject.lastIndexOf(".") + 1;
  if (subject[begin] !== tokenMark) return undefined;
  return toPlaceIds({ partition: Number(subject.split(".", 2)[1]), sequence, random: subject.slice(begin + 1) });
}

/** The server message id of a notification, by the subject and the sequence of its place. */
export function toServerMsgId(subject: string, sequence: number): string {
  // Its ids are short enough for a token to be no hash.
  const token = subject.slice(subject.lastIndexOf(".") + 1);
  return placeIdsOf(subject, sequence)?.serverMsgId ?? Buffer.from(token, "base64url").toString();
}

/** The token of a notification's place in an inbox, by its server message id. */
export function notificationToken(serverMsgId: string): string {
  const place = parsePlaceId("server", serverMsgId);
  return place === undefined ? toToken(serverMsgId) : placeToken(place.random);
}
