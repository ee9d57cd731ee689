import { createHash } from "node:crypto";

/** An id longer than this, in bytes of UTF-8, becomes a hash in subjects, which bounds the length of a subject. */
const maxPlainBytes = 64;

const dayMs = 86_400_000;

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

/** The token of a chat copy's place in an inbox. `~` is in no other token, so that no client message id can take it. */
export function messageToken(clientMsgId: string): string {
  return `${toToken(clientMsgId)}~m`;
}

/** The token of a recall's place in an inbox. */
export function recallToken(clientMsgId: string): string {
  return `${toToken(clientMsgId)}~r`;
}

/** The partition of a token: FNV-1a modulo the number of partitions. Stored data depends on it; it never changes. */
export function toPartition(token: string, partitions: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < token.length; i++) hash = Math.imul(hash ^ token.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % partitions;
}

/** Days since the Unix epoch, UTC: the bucket in which a notification of that moment is stored. */
export function toDay(timeMs: number): number {
  return Math.floor(timeMs / dayMs);
}

/** The stream of a partition. */
export function inboxStream(partition: number): string {
  return `INBOX_${partition}`;
}

/** Everything that the stream of a partition stores: inboxes of users, and records of sends. */
export function inboxStreamSubjects(partition: number): string[] {
  return [`inbox.${partition}.*.*.*`, `sent.${partition}.*`, `recalled.${partition}.*`];
}

/** How the broker turns a stored notification into a hint. */
export function hintRepublish(partition: number): { src: string; dest: string } {
  return {
    src: `inbox.${partition}.*.*.*`,
    dest: `live.${partition}.{{wildcard(1)}}.hint.{{wildcard(2)}}.{{wildcard(3)}}`,
  };
}

/** Where one notification of a user is stored. */
export function inboxSubject(partition: number, user: string, day: number, id: string): string {
  return `inbox.${partition}.${user}.${day}.${id}`;
}

/** All notifications of a user. */
export function inboxFilter(partition: number, user: string): string {
  return `inbox.${partition}.${user}.*.*`;
}

/** The notifications of a user in one day's bucket. */
export function inboxDayFilter(partition: number, user: string, day: number): string {
  return `inbox.${partition}.${user}.${day}.*`;
}

/** Where a send is recorded; the partition is that of its key, not of a user. */
export function sentSubject(partition: number, key: string): string {
  return `sent.${partition}.${key}`;
}

/** Where it is recorded that a send was recalled. */
export function recalledSubject(partition: number, key: string): string {
  return `recalled.${partition}.${key}`;
}

/** The stream of the CURSORS bucket. */
export const cursorStream = "KV_CURSORS";

/** The cursors of all devices of a user. */
export function cursorFilter(user: string): string {
  return `$KV.CURSORS.${user}.*`;
}

/** Everything that concerns the live sessions of a user. */
export function liveFilter(partition: number, user: string): string {
  return `live.${partition}.${user}.>`;
}

/** Carries the body of an online push. */
export function pushSubject(partition: number, user: string): string {
  return `live.${partition}.${user}.push`;
}

/** Has the user's sessions look into the inbox. */
export function wakeSubject(partition: number, user: string): string {
  return `live.${partition}.${user}.wake`;
}

/** Tells that the user has joined or left a group. */
export function memberSubject(partition: number, user: string): string {
  return `live.${partition}.${user}.member`;
}

/** Carries the body of an online push to a group. */
export function groupPushSubject(group: string): string {
  return `push.group.${group}`;
}

/** Carries an acknowledgement to the instance that holds the device's session. */
export function ackSubject(partition: number, user: string, device: string): string {
  return `live.${partition}.${user}.ack.${device}`;
}

/** Announces a new session of a device, which ends its older ones on every instance. */
export function supersedeSubject(partition: number, user: string, device: string): string {
  return `live.${partition}.${user}.supersede.${device}`;
}

/** What a message on a {@link liveFilter} subject is. */
export type LiveSignal =
  | { readonly kind: "push" | "hint" | "wake" | "member" }
  | { readonly kind: "ack" | "supersede"; readonly device: string };

/** Reads a `live.<p>.<user>.…` subject; undefined for one that this version does not know. */
export function parseLiveSubject(subject: string): LiveSignal | undefined {
  const [, , , kind, device] = subject.split(".");
  if (kind === "push" || kind === "hint" || kind === "wake" || kind === "member") return { kind };
  if ((kind === "ack" || kind === "supersede") && device !== undefined) return { kind, device };
  return undefined;
}

/** A device's key in the CURSORS bucket. */
export function cursorKey(user: string, device: string): string {
  return `${user}.${device}`;
}

/** The user token of a cursor's subject. */
export function parseCursorSubject(subject: string): string {
  return subject.split(".")[2] ?? "";
}

/** A user's platform's key in the REVOKED bucket. */
export function revokedKey(user: string, platformId: number): string {
  return `${user}.${platformId}`;
}

/** Where the stored messages of a stream are read (ADR-31). */
export function directGetSubject(stream: string): string {
  return `$JS.API.DIRECT.GET.${stream}`;
}

/** Where a server tells its configuration, to accounts that the system account lets ask (nats-server monitoring, VARZ). */
export const varzSubject = "$SYS.REQ.SERVER.PING.VARZ";
