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

/** The token of a chat copy's place in an inbox. `~` is in no other token, so that no other item can take it. */
export function messageToken(serverMsgId: string): string {
  return `${toToken(serverMsgId)}~m`;
}

/** The token of a recall's place in an inbox. */
export function recallToken(serverMsgId: string): string {
  return `${toToken(serverMsgId)}~r`;
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

/** Every subject of a stream. */
export const everything = ">";

/** Every stream that Mustreach declares, but for {@link sessionStream}, which is declared anew when it is gone. */
export function declaredStreams(partitions: number): string[] {
  const inboxes = Array.from({ length: partitions }, (_, partition) => inboxStream(partition));
  return [
    ...inboxes,
    "KV_CURSORS",
    "KV_REVOKED",
    "GROUPS",
    "CHAT",
    "FANOUT",
    "SCHEDULE",
    "ESCALATIONS",
    "DEAD_LETTERS",
    epochStream,
    laterStream,
  ];
}

/** The stream of a partition. */
export function inboxStream(partition: number): string {
  return `INBOX_${partition}`;
}

/** Everything that the stream of a partition stores: inboxes of users, and records of sends. */
export function inboxStreamSubjects(partition: number): string[] {
  return [`inbox.${partition}.*.*.*`, `sent.${partition}.*`, `recalled.${partition}.*`, `marker.${partition}.*`];
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
  const [kind, partition] = subject.split(".", 2);
  return kind === "inbox" ? Number(partition) : undefined;
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

/** Where a send is recorded; the partition is that of its key, not of a user. */
export function sentSubject(partition: number, key: string): string {
  return `sent.${partition}.${key}`;
}

/** Where it is recorded that a send was recalled; the partition is that of its id. */
export function recalledSubject(partition: number, send: string): string {
  return `recalled.${partition}.${send}`;
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

/** Tells that a device has a session, and its place in the order of the device's sessions. */
export function liveSessionSubject(partition: number, user: string, device: string): string {
  return `live.${partition}.${user}.session.${device}`;
}

/** What a message on a {@link liveFilter} subject is. */
export type LiveSignal =
  | { readonly kind: "push" | "hint" | "wake" | "member" }
  | { readonly kind: "ack" | "session"; readonly device: string };

/** Reads a `live.<p>.<user>.…` subject; undefined for one that this version does not know. */
export function parseLiveSubject(subject: string): LiveSignal | undefined {
  const [, , , kind, device] = subject.split(".");
  if (kind === "push" || kind === "hint" || kind === "wake" || kind === "member") return { kind };
  if ((kind === "ack" || kind === "session") && device !== undefined) return { kind, device };
  return undefined;
}

/** The stream that orders the sessions of a device. */
export const sessionStream = "SESSIONS";

/** Holds, in {@link sessionStream}, where the sequences of the broker's present life begin. */
export const sessionEpochSubject = "session.epoch";

/** Everything in {@link sessionStream}. */
export const sessionStreamSubjects = [sessionEpochSubject, "session.*.*.*"];

/** Where the opening of a session is recorded. */
export function sessionSubject(partition: number, user: string, device: string): string {
  return `session.${partition}.${user}.${device}`;
}

/** How the broker turns a recorded opening into a signal. */
export const sessionRepublish = {
  src: "session.*.*.*",
  dest: "live.{{wildcard(1)}}.{{wildcard(2)}}.session.{{wildcard(3)}}",
};

/** The stream that counts how often what the broker keeps in memory began anew. */
export const epochStream = "EPOCHS";

/** What {@link epochStream} counts for {@link sessionStream}. */
export const epochSubject = "epoch.sessions";

/** The stream of groups and their members. */
export const groupsStream = "GROUPS";

/** Everything that {@link groupsStream} stores: each group with its members, and the groups of each user. */
export const groupsStreamSubjects = ["group.*.info", "group.*.members.*", "joined.*.*"];

/** How many records hold the members of a group. Stored data depends on it; it never changes. */
const memberBuckets = 1_000;

/** A group and all its members: at most 1,001 subjects, so that one indexed read of the broker answers them. */
export function groupFilter(group: string): string {
  return `group.${group}.>`;
}

/** Where a group is described. */
export function groupInfoSubject(group: string): string {
  return `group.${group}.info`;
}

/** Where the membership of a user, and of others whose tokens share the bucket, is stored. */
export function groupMembersSubject(group: string, user: string): string {
  return `group.${group}.members.${toPartition(user, memberBuckets)}`;
}

/** How many users of a group with `memberCount` members share a record, on average. */
export function membersPerSubject(memberCount: number): number {
  return Math.max(1, memberCount / memberBuckets);
}

/** Where it is stored that a user is a member of a group. */
export function joinedSubject(user: string, group: string): string {
  return `joined.${user}.${group}`;
}

/** All groups of a user. */
export function joinedFilter(user: string): string {
  return `joined.${user}.*`;
}

/** A device's key in the CURSORS bucket. */
export function cursorKey(user: string, device: string): string {
  return `${user}.${device}`;
}

/** The user token of a cursor's subject. */
export function parseCursorSubject(subject: string): string {
  return subject.split(".")[2] ?? "";
}

/** The stream of the REVOKED bucket, all its entries, and where each is told to the instances that listen. */
export const revokedStream = "KV_REVOKED";
export const revokedFilter = "$KV.REVOKED.>";
export const revokedRepublish = { src: revokedFilter, dest: "live.revoked.>" } as const;

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

/** All group sends that are to be expanded. */
export const fanoutStreamSubjects = ["fanout.*.*"];

/** A group send that is to be expanded. The lane keeps the sends of a group in order. */
export function fanoutSubject(lane: number, id: string): string {
  return `fanout.${lane}.${id}`;
}

/** A lane's group sends. */
export function fanoutFilter(lane: number): string {
  return `fanout.${lane}.*`;
}

/** All scheduled sends, waiting or due. */
export const scheduleStreamSubjects = ["schedule.*", "due.*"];

/** All scheduled sends that are due. */
export const dueFilter = "due.*";

/** A send that waits for its time. */
export function scheduleSubject(send: string): string {
  return `schedule.${send}`;
}

/** A scheduled send whose time has come. */
export function dueSubject(send: string): string {
  return `due.${send}`;
}

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
  const [count, sequence, , nanos] = tokens.slice(tokens.length > 9 ? 6 : 4);
  return { count: Number(count), sequence: Number(sequence), storedAtMs: Math.floor(Number(nanos) / 1e6) };
}

/** All notifications of a partition. */
export function inboxPartitionFilter(partition: number): string {
  return `inbox.${partition}.*.*.*`;
}

/** The user token of an {@link inboxSubject}. */
export function parseInboxSubject(subject: string): string {
  return subject.split(".")[2] ?? "";
}

/** The stream of the notifications that are to be looked at later. */
export const laterStream = "LATER_LOOKS";

/** All looks that wait for their time. */
export const laterFilter = "later.*";

/** All looks that are due. */
export const lookFilter = "look.*";

/** Where a job of looks waits for its time. */
export function laterSubject(id: string): string {
  return `later.${id}`;
}

/** Where it is when its time has come. */
export function lookSubject(id: string): string {
  return `look.${id}`;
}

/** The stream of the notifications that wait for the webhook. */
export const escalationStream = "ESCALATIONS";

/** All notifications that wait for the first attempt to hand them to the webhook. */
export const escalationFilter = "escalation.*.*";

/** All notifications that wait for another attempt. */
export const retryFilter = "retry.*.*";

/** Where a notification waits for the webhook, by its place in the inboxes. */
export function escalationSubject(partition: number, sequence: number): string {
  return `escalation.${partition}.${sequence}`;
}

/** Where it waits for another attempt. */
export function retrySubject(partition: number, sequence: number): string {
  return `retry.${partition}.${sequence}`;
}

/** The stream of the notifications that the webhook has not taken. */
export const deadLetterStream = "DEAD_LETTERS";

/** Everything in {@link deadLetterStream}. */
export const deadLetterFilter = "dead.*.*";

/** Where a notification is kept that the webhook has not taken, by its place in the inboxes. */
export function deadLetterSubject(partition: number, sequence: number): string {
  return `dead.${partition}.${sequence}`;
}

/** Reads the place from an {@link escalationSubject}, a {@link retrySubject} or a {@link deadLetterSubject}. */
export function parsePlace(subject: string): { partition: number; sequence: number } {
  const [, partition, sequence] = subject.split(".");
  return { partition: Number(partition), sequence: Number(sequence) };
}

/** All chat copies, what is known about their conversations, and the conversations of each user. */
export const chatStreamSubjects = ["chat.>", "conversation.*.*"];

/** Two users in order, as one token: `~` is in no token of an id. */
export function pairToken(a: string, b: string): string {
  return `${toToken(a)}~${toToken(b)}`;
}

/** What heads a conversation. */
export function chatInfoSubject(conversation: string): string {
  return `chat.${conversation}.info`;
}

/** The chat copy at a place of a conversation. */
export function chatCopySubject(conversation: string, place: number): string {
  return `chat.${conversation}.msg.${place}`;
}

/** All chat copies of a conversation. */
export function chatCopyFilter(conversation: string): string {
  return `chat.${conversation}.msg.*`;
}

/** Where the place of a notification's copy is recorded. */
export function chatPlaceSubject(conversation: string, sender: string, id: string): string {
  return `chat.${conversation}.id.${sender}.${id}`;
}

/** The places of all copies that a user sent in a conversation. */
export function chatPlaceFilter(conversation: string, sender: string): string {
  return `chat.${conversation}.id.${sender}.*`;
}

/** How many copies a user sent in a conversation. */
export function chatSentSubject(conversation: string, user: string): string {
  return `chat.${conversation}.sent.${user}`;
}

/** How far a user has read a conversation. */
export function chatReadSubject(conversation: string, user: string): string {
  return `chat.${conversation}.read.${user}`;
}

/** Marks a conversation as one of a user; stored again with each copy, so that the newest is last. */
export function conversationSubject(user: string, conversation: string): string {
  return `conversation.${user}.${conversation}`;
}

/** All conversations of a user with another. */
export function conversationFilter(user: string): string {
  return `conversation.${user}.*`;
}

/** The conversation token of a {@link conversationSubject}. */
export function parseConversationSubject(subject: string): string {
  return subject.split(".")[2] ?? "";
}

/** A part of what a recall found in the inboxes. `~` is in no token of an id. */
export function recallFindingsSubject(partition: number, send: string, part: number): string {
  return `recalled.${partition}.${send}~${part}`;
}

/** An item in the inboxes of all users, by its token. */
export function inboxItemFilter(partition: number, id: string): string {
  return `inbox.${partition}.*.*.${id}`;
}
