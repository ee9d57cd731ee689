import type { StreamSpec } from "../broker/declare.ts";
import { toPartition, toToken } from "../broker/subjects.ts";

const dayMs = 86_400_000;

/** The token of a chat copy's place in an inbox. `~` is in no other token, so that no other item can take it. */
export function messageToken(serverMsgId: string): string {
  return `${toToken(serverMsgId)}~m`;
}

/** The token of a recall's place in an inbox. */
export function recallToken(serverMsgId: string): string {
  return `${toToken(serverMsgId)}~r`;
}

/** Days since the Unix epoch, UTC: the bucket in which a notification of that moment is stored. */
export function toDay(timeMs: number): number {
  return Math.floor(timeMs / dayMs);
}

/** The stream of a partition. */
export function inboxStream(partition: number): string {
  return `INBOX_${partition}`;
}

/** Where an inbox is. */
export interface InboxPlace {
  /** The user's token. */
  readonly user: string;
  readonly partition: number;
  readonly stream: string;
}

/** Finds where a user's inbox is. */
export function locateInbox(userId: string, partitions: number): InboxPlace {
  const user = toToken(userId);
  const partition = toPartition(user, partitions);
  return { user, partition, stream: inboxStream(partition) };
}

interface InboxSettings {
  readonly partitions: number;
  /** How long a notification is kept, in milliseconds. */
  readonly retentionMs: number;
  /** Space over all partitions, in bytes. */
  readonly maxStoreBytes: number;
}

/** The inboxes of each partition. */
export function inboxSpecs({ partitions, retentionMs, maxStoreBytes }: InboxSettings): StreamSpec[] {
  const ofPartition = (_: unknown, partition: number): StreamSpec => ({
    name: inboxStream(partition),
    description: "must-reach notifications by user, and the client message ids used",
    subjects: [
      `inbox.${partition}.*.*.*`,
      `sent.${partition}.*`,
      `recalled.${partition}.*`,
      `collapse.${partition}.*.*.*`,
      markerFilter(partition),
    ],
    // A user's inbox would be looked for in the wrong stream.
    fixed: { name: "MUSTREACH_PARTITIONS", value: partitions },
    // One subject is one notification or one claim. A full stream refuses rather than evicts.
    isWriteOnce: true,
    // Only until the next message, which may ask for it.
    namesKnownMs: 1_000,
    hasTtls: true,
    maxAgeMs: retentionMs,
    maxBytes: Math.floor(maxStoreBytes / partitions),
    republish: hintRepublish(partition),
  });
  return Array.from({ length: partitions }, ofPartition);
}

/** Where the `number`th marker of an epoch is stored. */
export function markerSubject(partition: number, number: number): string {
  return `marker.${partition}.${number}`;
}

/** The markers of a partition. */
export function markerFilter(partition: number): string {
  return `marker.${partition}.*`;
}

/** The number of a marker; NaN for another subject. */
export function parseMarkerSubject(subject: string): number {
  const [kind, , number] = subject.split(".");
  return kind === "marker" ? Number(number) : Number.NaN;
}

/** The partition of an {@link inboxSubject}; undefined for another subject. */
export function parseInboxPartition(subject: string): number | undefined {
  if (!subject.startsWith("inbox.")) return undefined;
  const begin = "inbox.".length;
  return Number(subject.slice(begin, subject.indexOf(".", begin)));
}

/** How the broker turns a stored notification into a hint. */
function hintRepublish(partition: number) {
  return {
    src: `inbox.${partition}.*.*.*`,
    dest: `live.${partition}.{{wildcard(1)}}.hint.{{wildcard(2)}}.{{wildcard(3)}}`,
    headersOnly: true,
  };
}

/** Where one notification of a user is stored. */
export function inboxSubject(partition: number, user: string, day: number, id: string): string {
  return `inbox.${partition}.${user}.${day}.${id}`;
}

/** One notification of a user, in whatever day's bucket. */
export function inboxIdFilter(partition: number, user: string, id: string): string {
  return `inbox.${partition}.${user}.*.${id}`;
}

/** The user and the id of an inbox subject, which name a notification whatever its day. */
export function toInboxId(subject: string): string {
  const [, , user, , id] = subject.split(".");
  return `${user}.${id}`;
}

/** All notifications of a user. */
export function inboxFilter(partition: number, user: string): string {
  return `inbox.${partition}.${user}.*.*`;
}

/** The notifications of a user in one day's bucket. */
export function inboxDayFilter(partition: number, user: string, day: number): string {
  return `inbox.${partition}.${user}.${day}.*`;
}

/** All notifications of a partition. */
export function inboxPartitionFilter(partition: number): string {
  return `inbox.${partition}.*.*.*`;
}

/** The user token of an {@link inboxSubject}. */
export function parseInboxSubject(subject: string): string {
  return subject.split(".")[2] ?? "";
}

/** An item in the inboxes of all users, by its token. */
export function inboxItemFilter(partition: number, id: string): string {
  return `inbox.${partition}.*.*.${id}`;
}
