import { clone, create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type MsgHdrs, headers as newHeaders } from "@nats-io/transport-node";
import {
  type Message,
  MessageSchema,
  type Notification,
  NotificationSchema,
} from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { type BatchMessage, type BatchStored, storeBatch } from "./batch.ts";
import {
  decodeRecord,
  encodeRecord,
  infoRecord,
  type Parties,
  placeRecord,
  readSubjects,
  sentRecord,
} from "./chat-records.ts";
import type { Broker } from "./connect.ts";
import type { DirectGet, DirectMessage } from "./direct-get.ts";
import {
  chatCopySubject,
  chatInfoSubject,
  chatPlaceSubject,
  chatSentSubject,
  conversationSubject,
  toToken,
} from "./subjects.ts";

/** A copy to store. */
export interface ChatCopy {
  /** The conversation's id, as users see it. */
  readonly conversationId: string;
  readonly parties: Parties;
  readonly notification: Notification;
}

/** What came of a number of copies: each with its place, or why none is stored. */
export type CopiesStored =
  | { readonly kind: "stored"; readonly messages: readonly Message[] }
  | Extract<BatchStored, { kind: "rejected" }>;

/** How long the broker may take to acknowledge a batch, in milliseconds. */
const batchTimeoutMs = 2_000;

/** Stores copies of the conversation with that token; {@link createStoreCopies} makes it. */
export type StoreCopies = (conversation: string, copies: readonly ChatCopy[]) => Promise<CopiesStored>;

/**
 * Creates the store of chat copies at the next places of their conversation, with everything that depends on them, in
 * one atomic batch. It holds only if the conversation is still headed by what was read before, so of two instances one
 * is rejected and tries again. A notification that has a copy already gets that one.
 *
 * Throws NetworkError (90004) when the broker did not answer in time: the copies are stored or not.
 *
 * @param retentionMs how long a copy is kept; undefined: for ever.
 */
export function createStoreCopies(broker: Broker, get: DirectGet, retentionMs: number | undefined): StoreCopies {
  const readEarlier = async (conversation: string, copy: ChatCopy, place: number): Promise<Message> => {
    const subject = chatCopySubject(conversation, place);
    const found = (await readSubjects(get, [subject])).get(subject);
    // Another replica may not have it yet, but this is the same notification.
    return found === undefined ? toMessage(copy, place) : fromBinary(MessageSchema, found.payload);
  };

  return async (conversation, copies) => {
    const infoSubject = chatInfoSubject(conversation);
    const subjects = copies.map(({ notification }) => ({
      place: chatPlaceSubject(conversation, toToken(notification.sendUserId), toToken(notification.serverMsgId)),
      sent: chatSentSubject(conversation, toToken(notification.sendUserId)),
    }));
    const wanted = new Set(subjects.flatMap(({ place, sent }) => [place, sent]));
    const records = await readSubjects(get, [infoSubject, ...wanted]);

    const draft = createDraft(conversation, records, retentionMs);
    const messages: (Message | Promise<Message>)[] = [];
    for (const [index, copy] of copies.entries()) {
      const { place = "", sent = "" } = subjects[index] ?? {};
      const earlier = decodeRecord(placeRecord, records.get(place));
      messages.push(
        earlier === undefined ? draft.add(copy, place, sent) : readEarlier(conversation, copy, earlier.place),
      );
    }
    const batch = draft.toBatch();
    if (batch.length > 0) {
      const stored = await storeBatch(broker, batch, batchTimeoutMs);
      if (stored.kind === "rejected") return stored;
    }
    return { kind: "stored", messages: await Promise.all(messages) };
  };
}

/** Collects what is to be stored with new copies of a conversation. */
function createDraft(
  conversation: string,
  records: ReadonlyMap<string, DirectMessage>,
  retentionMs: number | undefined,
) {
  const infoSubject = chatInfoSubject(conversation);
  let place = decodeRecord(infoRecord, records.get(infoSubject))?.maxSeq ?? 0;
  let last: ChatCopy | undefined;
  const copies: BatchMessage[] = [];
  const added = new Map<string, Message>();
  const senders = new Map<string, { readonly userId: string; readonly sent: number; readonly place: number }>();

  return {
    add(copy: ChatCopy, placeSubject: string, sentSubject: string): Message {
      const twin = added.get(placeSubject);
      if (twin !== undefined) return twin;
      place++;
      last = copy;
      const message = toMessage(copy, place);
      added.set(placeSubject, message);
      const before = senders.get(sentSubject) ?? decodeRecord(sentRecord, records.get(sentSubject));
      const sender = { userId: copy.notification.sendUserId, sent: (before?.sent ?? 0) + 1, place };
      senders.set(sentSubject, sender);
      copies.push(
        // Before its copy: what follows a copy in the stream are places above it.
        { subject: placeSubject, payload: encodeRecord({ place, sent: sender.sent }), headers: expiring(retentionMs) },
        {
          subject: chatCopySubject(conversation, place),
          payload: toBinary(MessageSchema, message),
          headers: expiring(retentionMs),
        },
      );
      return message;
    },
    toBatch(): BatchMessage[] {
      if (last === undefined) return [];
      const { conversationId, parties, notification } = last;
      const users = "userIds" in parties ? new Set(parties.userIds) : [];
      const info = { conversationId, parties, maxSeq: place, maxSeqTime: Number(notification.sendTime) };
      const head = newHeaders();
      head.set("Nats-Expected-Last-Subject-Sequence", String(records.get(infoSubject)?.sequence ?? 0));
      return [
        ...copies,
        ...[...senders].map(([subject, sender]) => ({ subject, payload: encodeRecord(sender) })),
        ...[...users].map((userId) => ({
          subject: conversationSubject(toToken(userId), conversation),
          payload: encodeRecord({ userId, conversationId }),
        })),
        { subject: infoSubject, payload: encodeRecord(info), headers: head },
      ];
    },
  };
}

function toMessage({ conversationId, notification }: ChatCopy, place: number): Message {
  const copied = clone(NotificationSchema, notification);
  // A place in an inbox, of which there is one for each recipient.
  copied.sequence = 0n;
  return create(MessageSchema, { conversationId, conversationSequence: BigInt(place), notification: copied });
}

/** Not the stream's max_age: that would take with it how far a quiet conversation has come. */
function expiring(retentionMs: number | undefined): MsgHdrs {
  const headers = newHeaders();
  if (retentionMs !== undefined) headers.set("Nats-TTL", `${Math.max(1, Math.ceil(retentionMs / 1_000))}s`);
  return headers;
}
