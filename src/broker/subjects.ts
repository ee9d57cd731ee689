import { createHash } from "node:crypto";

/** An id longer than this, in bytes of UTF-8, becomes a hash in subjects, which bounds the length of a subject. */
const maxPlainBytes = 64;

/**
 * Makes any id a subject token that no wildcard, separator or control character can leave: base64url of its UTF-8, or
 * `=` and the base64url SHA-256 of it when it is longer than 64 bytes. The `=` keeps the two apart, and both are valid
 * KV keys. A raw `*` as user id would read other people's notifications.
 */
export function toToken(id: string): string {
  const bytes = Buffer.from(id, "utf8");
  if (bytes.length === 0) throw new TypeError("an empty id has no subject token");
  return bytes.length <= maxPlainBytes
    ? bytes.toString("base64url")
    : `=${createHash("sha256").update(bytes).digest("base64url")}`;
}

/** The partition of a token: FNV-1a modulo the number of partitions. Stored data depends on it; it never changes. */
export function toPartition(token: string, partitions: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < token.length; i++) hash = Math.imul(hash ^ token.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % partitions;
}

/** Every subject of a stream. */
export const everything = ">";

/** Where the stored messages of a stream are read (ADR-31). */
export function directGetSubject(stream: string): string {
  return `$JS.API.DIRECT.GET.${stream}`;
}

/** Where the leader of a stream is asked to let another lead. */
export function stepDownSubject(stream: string): string {
  return `$JS.API.STREAM.LEADER.STEPDOWN.${stream}`;
}

/** Where a server tells its configuration, to accounts that the system account lets ask (nats-server monitoring, VARZ). */
export const varzSubject = "$SYS.REQ.SERVER.PING.VARZ";

/** Where a pull consumer is asked for messages. */
export function nextMessageSubject(stream: string, consumer: string): string {
  return `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
}

/**
 * Reads the reply subject of a consumer's delivery: `$JS.ACK.<stream>.<consumer>.<count>.<sequence>.…`, which newer
 * brokers may write with domain and account first (ADR-15).
 */
export function parseDelivery(reply: string): { count: number; sequence: number; storedAtMs: number } {
  const tokens = reply.split(".");
  const first = tokens.length > 9 ? 6 : 4;
  const [count, sequence, nanos] = [tokens[first], tokens[first + 1], tokens[first + 3]];
  return { count: Number(count), sequence: Number(sequence), storedAtMs: Math.floor(Number(nanos) / 1e6) };
}

/** What we publish to and subscribe to for JetStream itself: requests, acknowledgements, flow control, and answers. */
export const brokerRights = {
  publish: ["$JS.API.>", "$JS.ACK.>", "$JS.FC.>"],
  subscribe: ["_INBOX.>"],
} as const;
