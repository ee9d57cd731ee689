import { clone, create, toBinary } from "@bufbuild/protobuf";
import type { Broker } from "../broker/connect.ts";
import { isIncomplete, isOvertaken, toRefusal } from "../broker/faults.ts";
import type { DirectGet, DirectMessage } from "../broker/reads/direct-get.ts";
import { toToken } from "../broker/subjects.ts";
import { type Write, write } from "../broker/write.ts";
import { decodeStored } from "../decode-stored.ts";
import {
  type Message,
  MessageSchema,
  type Notification,
  NotificationSchema,
} from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { UserConversationRecordSchema } from "../gen/mustreach/store/v1/chat_pb.ts";
import { chatCopySubject, chatInfoSubject, chatPlaceSubject, chatReadSubject, conversationSubject } from "./layout.ts";
import {
  conversationToken,
  decodeRecord,
  infoRecord,
  type Parties,
  placeRecord,
  readRecord,
  readSubjects,
} from "./records.ts";

/** A copy to store. */
export interface ChatCopy {
  /** The conversation's id, as users see it. */
  readonly conversationId: string;
  readonly parties: Parties;
  readonly notification: Notification;
}

/** What came of a number of copies. */
export type CopiesStored =
  /** The copies with their places, in the order in which they were given. */
  | { readonly kind: "stored"; readonly messages: readonly Message[] }
  /** None is stored: another instance stored a copy in the meantime, so the next try sees that. */
  | { readonly kind: "overtaken" }
  /** None is stored: the broker has too many batches under way, or dropped a message without saying why. */
  | { readonly kind: "incomplete" };

export interface ChatStore {
  readonly broker: Broker;
  readonly get: DirectGet;
  /** How long a copy is kept, in milliseconds. Default: for ever. */
  readonly retentionMs: number | undefined;
}

/** How long the broker may take to acknowledge a batch, in milliseconds. */
const batchTimeoutMs = 2_000;

/**
 * Stores chat copies at the next places of their conversations, with everything that depends on them, in one atomic
 * batch. It holds only if each conversation is still headed by what was read before, so of two instances
 * that append to one conversation at the same time, one is rejected. A notification that has a copy already gets that
 * one.
 *
 * @throws NetworkError (90004) when the broker did not answer in time: the copies are stored or not; what the broker
 * refuses for good as {@link toRefusal} has it.
 */
export async function storeCopies(
  { broker, get, retentionMs }: ChatStore,
  copies: readonly ChatCopy[],
): Promise<CopiesStored> {
  const located = copies.map(locate);
  const subjects = located.flatMap((of) => [of.infoSubject, of.placeSubject]);
  const records = await readSubjects(get, [...new Set(subjects)]);
  const drafts = new Map<string, ReturnType<typeof createDraft>>();
  const answers = located.map((of) => {
    const earlier = decodeRecord(placeRecord, records.get(of.placeSubject));
    // After the write: nobody would hear of its failure before.
    if (earlier !== undefined) return () => readEarlier(get, of, earlier);
    const draft = drafts.get(of.conversation) ?? createDraft(of, records, retentionMs);
    drafts.set(of.conversation, draft);
    const message = draft.add(of);
    return () => message;
  });
  const batch = [...drafts.values()].flatMap((draft) => draft.toBatch());
  if (batch.length > 0) {
    const stored = await write(broker, batch, batchTimeoutMs);
    if (stored.kind === "refused") {
      if (isOvertaken(stored)) return { kind: "overtaken" };
      if (isIncomplete(stored)) return { kind: "incomplete" };
      throw toRefusal(stored);
    }
  }
  return { kind: "stored", messages: await Promise.all(answers.map((answer) => answer())) };
}

/** A copy and the subjects that it concerns. */
interface Located {
  readonly copy: ChatCopy;
  readonly conversation: string;
  readonly infoSubject: string;
  readonly placeSubject: string;
  readonly readSubject: string;
}

function locate(copy: ChatCopy): Located {
  const conversation = conversationToken(copy.parties);
  const sender = toToken(copy.notification.sendUserId);
  return {
    copy,
    conversation,
    infoSubject: chatInfoSubject(conversation),
    placeSubject: chatPlaceSubject(conversation, sender, toToken(copy.notification.serverMsgId)),
    readSubject: chatReadSubject(conversation, sender),
  };
}

async function readEarlier(get: DirectGet, { copy, conversation }: Located, place: number): Promise<Message> {
  const subject = chatCopySubject(conversation, place);
  const found = (await readSubjects(get, [subject])).get(subject);
  // Another replica may not have it yet, but this is the same notification.
  return found === undefined ? toMessage(copy, place) : decodeStored(MessageSchema, found.payload);
}

/** Collects what is to be stored with new copies of a conversation. */
function createDraft(
  { conversation, infoSubject, copy: { conversationId, parties } }: Located,
  records: ReadonlyMap<string, DirectMessage>,
  retentionMs: number | undefined,
) {
  const head = records.get(infoSubject);
  let place = decodeRecord(infoRecord, head)?.maxSeq ?? 0;
  let maxSeqTime = 0;
  const copies: Write[] = [];
  const added = new Map<string, Message>();
  const senders = new Map<string, { readonly userId: string; readonly hasReadSeq: number }>();

  return {
    add({ copy, placeSubject, readSubject }: Located): Message {
      const twin = added.get(placeSubject);
      if (twin !== undefined) return twin;
      place++;
      maxSeqTime = Number(copy.notification.sendTime);
      const message = toMessage(copy, place);
      added.set(placeSubject, message);
      // Never back, whatever else is marked: no place that can be marked is above it.
      senders.set(readSubject, { userId: copy.notification.sendUserId, hasReadSeq: place });
      const copySubject = chatCopySubject(conversation, place);
      copies.push(
        // With a TTL, not by the stream's max_age: that would take with it how far a quiet conversation has come.
        { subject: placeSubject, payload: placeRecord.encode(place), ttlMs: retentionMs },
        { subject: copySubject, payload: toBinary(MessageSchema, message), ttlMs: retentionMs },
      );
      return message;
    },
    toBatch(): Write[] {
      const users = "userIds" in parties ? new Set(parties.userIds) : [];
      return [
        ...copies,
        ...[...senders].map(([subject, sender]) => ({ subject, payload: readRecord.encode(sender) })),
        ...[...users].map((userId) => ({
          subject: conversationSubject(toToken(userId), conversation),
          payload: toBinary(
            UserConversationRecordSchema,
            create(UserConversationRecordSchema, { userId, conversationId }),
          ),
        })),
        {
          subject: infoSubject,
          payload: infoRecord.encode({ conversationId, parties, maxSeq: place, maxSeqTime }),
          replaces: head?.sequence ?? 0,
        },
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
