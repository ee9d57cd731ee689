import { toBinary } from "@bufbuild/protobuf";
import { type Addressing, devicesHeader, readAddressing, writeAddressing } from "../addressing.ts";
import type { DirectMessage } from "../broker/reads/direct-get.ts";
import { decodeStored } from "../decode-stored.ts";
import {
  AckScope,
  type Message,
  MessageSchema,
  type Notification,
  NotificationSchema,
  type Recall,
  RecallSchema,
} from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { compileFlatCodec } from "../grpc/flat-codec.ts";
import { prefixBytes } from "../grpc/frame.ts";
import { traceparentHeader } from "../tracing/traceparent.ts";
import { isTracing } from "../tracing/tracer.ts";
import { FieldWriter, toEventFrame } from "./event-frame.ts";
import { messageToken, recallToken } from "./layout.ts";
import { type NotificationIds, notificationToken, placeIdsOf } from "./place-id.ts";

/** What can be in a user's inbox. */
export type InboxItem =
  | { readonly kind: "notification"; readonly notification: Notification }
  /** The chat copy of a notification. */
  | { readonly kind: "message"; readonly message: Message }
  /** A notification was withdrawn, at `timeMs` (epoch milliseconds). */
  | { readonly kind: "recall"; readonly recall: Recall; readonly timeMs: number };

/** An item with its place, as devices get it. */
export interface InboxEntry {
  readonly kind: InboxItem["kind"];
  readonly sequence: number;
  /** In which it was stored. */
  readonly epoch: string;
  /** When it was stored, by the broker's clock, in epoch milliseconds. */
  readonly storedAtMs: number;
  /** When it is no longer worth delivering, in epoch milliseconds; undefined: when the retention ends. */
  readonly expiresAtMs: number | undefined;
  /** Which devices it is for; undefined: all. */
  readonly devices?: Addressing | undefined;
  /** The trace of its send, where spans go anywhere; else empty. */
  readonly traceparent: string;
  /** What its acknowledgement sets off; undefined: nothing. */
  readonly marks?: ItemMarks | undefined;
  /** The event, encoded: see {@link toEventFrame}. */
  readonly frame: Uint8Array;
}

/** A notification whose acknowledgement sets something off besides the device's own cursor. */
export interface ItemMarks {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  readonly key: string;
  /** Epoch milliseconds. */
  readonly sendTimeMs: number;
  /** Whether the first acknowledgement of a device settles it for the user. */
  readonly isUserScoped: boolean;
  /** Why what becomes of it is reported; undefined: it is not. */
  readonly report: ReportCause | undefined;
}

/** What of a stored message is an item. */
export type StoredItem = Pick<DirectMessage, "subject" | "sequence" | "payload">;

/** Options of a write. */
export interface WriteOptions {
  readonly expiresAtMs?: number | undefined;
  /** How long after the write it is handed to the webhook, in milliseconds; undefined: as the settings say. */
  readonly escalateAfterMs?: number | undefined;
  /** Which devices it is for; undefined: all. */
  readonly devices?: Addressing | undefined;
  readonly operationId: string;
  /** Why what becomes of a notification is reported; undefined: it is not. */
  readonly report?: ReportCause | undefined;
}

/** Why something is reported: its sender asked for it, or its key has it so. */
export type ReportCause = "send" | "key";

export const expiresHeader = "Mustreach-Expires";
const escalateHeader = "Mustreach-Escalate-After";
/** Whose inbox it is, URI-encoded: the subject may have a hash only. */
export const userHeader = "Mustreach-User";
/** `message`, `recall` or `tombstone`; absent for a notification. */
const kindHeader = "Mustreach-Kind";
/** `1` or `key` where what becomes of a notification is reported: see {@link ReportCause}. */
export const reportHeader = "Mustreach-Report";
/** `user` for a notification that the first acknowledgement of a device settles for the user. */
const scopeHeader = "Mustreach-Ack-Scope";
const operationHeader = "Mustreach-Operation-Id";
/** The kind of what is no item. */
const tombstone = "tombstone";

/** Makes a device's event of a stored item, without a look into it. */
export function toEntry(message: DirectMessage, epoch: string): InboxEntry {
  const { sequence, timeMs: storedAtMs, header } = message;
  const kind = (header(kindHeader) || "notification") as InboxItem["kind"];
  const expires = header(expiresHeader);
  const expiresAtMs = expires === "" ? undefined : Number(expires);
  const traceparent = isTracing() ? header(traceparentHeader) : "";
  const devices = readAddressing(header(devicesHeader));
  const [marks, frame] = [toMarks(message), toFrame(kind, message, epoch)];
  return { kind, sequence, epoch, storedAtMs, expiresAtMs, devices, traceparent, marks, frame };
}

function toMarks(message: DirectMessage): ItemMarks | undefined {
  const isUserScoped = message.header(scopeHeader) === "user";
  const report = readCause(message.header(reportHeader));
  if (!isUserScoped && report === undefined) return undefined;
  const { serverMsgId, clientMsgId, key, sendTime } = decodeNotification(message);
  return { serverMsgId, clientMsgId, key, sendTimeMs: Number(sendTime), isUserScoped, report };
}

function toFrame(kind: InboxItem["kind"], message: StoredItem, epoch: string): Uint8Array {
  const { payload, sequence } = message;
  if (kind === "recall") return toEventFrame(kind, payload, appendPlace(RecallSchema, sequence, epoch).take());
  if (kind === "notification") return toEventFrame(kind, payload, derivedFields(message, epoch));
  // Not every decoder merges a field of a message that is there twice, as protobuf asks.
  const copy = decodeStored(MessageSchema, payload);
  if (copy.notification !== undefined) Object.assign(copy.notification, { sequence: BigInt(sequence), epoch });
  return toEventFrame(kind, toBinary(MessageSchema, copy));
}

/** A notification that was encoded without ids, with these. */
export function withIds(encoded: Uint8Array, ids: NotificationIds): Uint8Array {
  return Buffer.concat([encoded, appendIds(appended, ids).take()]);
}

/** A notification that was encoded without its recipient, for this one. */
export function withRecipient(encoded: Uint8Array, userId: string): Uint8Array {
  return Buffer.concat([encoded, appended.string(NotificationSchema.field.recvUserId.number, userId).take()]);
}

function appendIds(fields: FieldWriter, ids: NotificationIds): FieldWriter {
  const { serverMsgId, clientMsgId } = NotificationSchema.field;
  return fields.string(serverMsgId.number, ids.serverMsgId).string(clientMsgId.number, ids.clientMsgId);
}

/** The fields of a notification that are not in its bytes, since the place where it is stored says them. */
function derivedFields({ subject, sequence }: StoredItem, epoch: string): Uint8Array {
  const fields = appendPlace(NotificationSchema, sequence, epoch);
  const ids = placeIdsOf(subject, sequence);
  return (ids === undefined ? fields : appendIds(fields, ids)).take();
}

function appendPlace(schema: typeof NotificationSchema | typeof RecallSchema, sequence: number, epoch: string) {
  return appended.uint64(schema.field.sequence.number, sequence).string(schema.field.epoch.number, epoch);
}

/** A user id has 1,024 bytes at most, an epoch 32 characters, and derived ids 32 hex digits. */
const appended = new FieldWriter(2_048);

/** Reads the stored form of a notification, without its sequence. */
export function decodeNotification({ subject, sequence, payload }: StoredItem): Notification {
  return Object.assign(decodeStored(NotificationSchema, payload), placeIdsOf(subject, sequence));
}

/** The stored form of an item; its headers are {@link itemHeaders}. */
export function encodeItem(item: InboxItem): Uint8Array {
  if (item.kind === "recall") return toBinary(RecallSchema, item.recall);
  if (item.kind === "message") return toBinary(MessageSchema, item.message);
  return encodeNotification(item.notification);
}

const flatNotification = compileFlatCodec(NotificationSchema);

/** Encodes a notification, as protobuf's own code does. */
export function encodeNotification(notification: Notification): Uint8Array {
  return flatNotification.write(notification)?.subarray(prefixBytes) ?? toBinary(NotificationSchema, notification);
}

/** What is stored beside an item. */
export function itemHeaders(userId: string, item: InboxItem, options: WriteOptions): Record<string, string> {
  const { operationId, expiresAtMs, escalateAfterMs, devices, report } = options;
  const headers = ownerHeader(userId);
  headers[operationHeader] = encodeURIComponent(operationId);
  if (item.kind !== "notification") headers[kindHeader] = item.kind;
  else if (item.notification.traceparent !== "") headers[traceparentHeader] = item.notification.traceparent;
  if (expiresAtMs !== undefined) headers[expiresHeader] = String(expiresAtMs);
  if (escalateAfterMs !== undefined) headers[escalateHeader] = String(escalateAfterMs);
  if (report !== undefined && item.kind === "notification") headers[reportHeader] = report === "send" ? "1" : report;
  if (devices !== undefined) headers[devicesHeader] = writeAddressing(devices);
  if (item.kind === "notification" && item.notification.ackScope === AckScope.USER) headers[scopeHeader] = "user";
  return headers;
}

/** What of {@link itemHeaders} is another for each user. */
export function ownerHeader(userId: string): Record<string, string> {
  return { [userHeader]: encodeURIComponent(userId) };
}

/** Reads what {@link itemHeaders} has stored. The kind may be that of a tombstone. */
export function readItemHeaders({ header }: Pick<DirectMessage, "header">) {
  const readNumber = (name: string) => (header(name) === "" ? undefined : Number(header(name)));
  return {
    userId: decodeURIComponent(header(userHeader)),
    kind: header(kindHeader) || "notification",
    /** When it is no longer worth delivering, in epoch milliseconds; undefined: when the retention ends. */
    expiresAtMs: readNumber(expiresHeader),
    /** How long after the write it is handed to the webhook, in milliseconds; undefined: as the settings say. */
    escalateAfterMs: readNumber(escalateHeader),
    /** Why what becomes of it is reported; undefined: it is not. */
    report: readCause(header(reportHeader)),
    /** Which devices it is for; undefined: all. */
    devices: readAddressing(header(devicesHeader)),
  };
}

function readCause(value: string): ReportCause | undefined {
  if (value === "") return undefined;
  return value === "key" ? "key" : "send";
}

/** What is stored in the place of a notification that was withdrawn, so that nobody can store it there again. */
export function tombstoneHeaders(userId: string, operationId: string): Record<string, string> {
  return {
    [operationHeader]: encodeURIComponent(operationId),
    [userHeader]: encodeURIComponent(userId),
    [kindHeader]: tombstone,
  };
}

/** Whether a message is in the place of a withdrawn notification, and no item. */
export function isTombstone(message: Pick<DirectMessage, "header">): boolean {
  return message.header(kindHeader) === tombstone;
}

/** Which item it is: a token that no other item of its inbox has, and when it came to be, in epoch milliseconds. */
export function itemKey(item: InboxItem): { id: string; timeMs: number } {
  if (item.kind === "recall") return { id: recallToken(item.recall.serverMsgId), timeMs: item.timeMs };
  if (item.kind === "notification") {
    return { id: notificationToken(item.notification.serverMsgId), timeMs: Number(item.notification.sendTime) };
  }
  const { notification } = item.message;
  if (notification === undefined) throw new TypeError("a chat copy without its notification");
  return { id: messageToken(notification.serverMsgId), timeMs: Number(notification.sendTime) };
}
