import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { decodeStored } from "../decode-stored.ts";
import { type Message, MessageSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { createAppend } from "./append.ts";
import { listConversations, type UserConversation } from "./conversations.ts";
import type { ChatCopy } from "./copies.ts";
import { chatCopyFilter, chatCopySubject, chatInfoSubject, chatStream } from "./layout.ts";
import { markRead } from "./read-marks.ts";
import { conversationToken, decodeRecord, infoRecord, type Parties, readSubjects } from "./records.ts";

/** A conversation that holds copies. */
export interface StoredConversation {
  readonly conversationId: string;
  readonly parties: Parties;
  /** The place of the newest copy. */
  readonly maxSeq: number;
}

export interface PullRange {
  /** The first place, from 1. */
  readonly begin: number;
  /** The last place; may be above the newest. */
  readonly end: number;
  /** At most this many copies, 1 to 1,000. */
  readonly limit: number;
}

/** Copies that follow each other. */
export interface CopyPage {
  /** In the order of their places. Fewer than asked for where copies are large. */
  readonly messages: readonly Message[];
  /** Whether nothing follows them up to the end of the range. */
  readonly isEnd: boolean;
}

/** The chat copies of notifications, by conversation. Everything throws NetworkError (90004) when the broker fails. */
export interface Chat {
  /**
   * Stores a copy at the next place of its conversation, and resolves to it. A notification has one copy: appending
   * it again, by sender and server message id, resolves to the first.
   */
  append(copy: ChatCopy): Promise<Message>;
  /** The conversation with the newest copy among those of these parties; undefined when none holds a copy. */
  find(candidates: readonly Parties[]): Promise<StoredConversation | undefined>;
  /** Reads copies by their place. */
  pull(conversation: StoredConversation, range: PullRange): Promise<CopyPage>;
  /**
   * A user's conversations: those with other users, and those of these groups. At most 1,000, the one with the newest
   * copy first.
   */
  conversationsOf(userId: string, groupIds: readonly string[]): Promise<readonly UserConversation[]>;
  /** Moves a user's place in a conversation forward, never back, up to a place that holds a copy. */
  markRead(userId: string, parties: Parties, place: number): Promise<void>;
}

export interface ChatOptions {
  /** How long a write may take, with all its tries, in milliseconds. */
  readonly timeoutMs: number;
  /** How long a copy is kept from when it is stored, in milliseconds. Default: for ever. */
  readonly retentionMs?: number | undefined;
}

/** A page ends with the copy that reaches this size, in bytes: a gRPC client takes 4 MiB unless told otherwise. */
const maxPageBytes = 1_048_576;

export function createChat(broker: Broker, get: DirectGet, { timeoutMs, retentionMs }: ChatOptions): Chat {
  const readCopies = async (conversation: string, first: number, last: number): Promise<Message[]> => {
    const places = Array.from({ length: last - first + 1 }, (_, n) => chatCopySubject(conversation, first + n));
    const page = await get.index(chatStream, places, { from: 1, maxBytes: maxPageBytes });
    if (page === undefined) throw new RangeError("a page of more than 1,024 copies");
    return page.messages.map(({ payload }) => decodeStored(MessageSchema, payload));
  };

  const firstRetained = async (conversation: string): Promise<number | undefined> => {
    const message = await get.next(chatStream, chatCopyFilter(conversation), 1);
    return message === undefined ? undefined : placeOf(decodeStored(MessageSchema, message.payload));
  };

  return {
    append: createAppend({ broker, get, retentionMs }, timeoutMs),

    async find(candidates) {
      const subjects = candidates.map((parties) => chatInfoSubject(conversationToken(parties)));
      const found = [...(await readSubjects(get, subjects)).values()].sort((a, b) => b.sequence - a.sequence);
      return decodeRecord(infoRecord, found[0]);
    },

    async pull({ parties, maxSeq }, { begin, end, limit }) {
      const conversation = conversationToken(parties);
      const last = Math.min(end, maxSeq);
      const readFrom = (first: number) => readCopies(conversation, first, Math.min(last, first + limit - 1));
      let messages = begin > last ? [] : await readFrom(begin);
      if (messages.length === 0 && begin <= last) {
        // Nothing of the page is retained; the next that is may be far.
        const retained = await firstRetained(conversation);
        if (retained !== undefined && retained > begin && retained <= last) messages = await readFrom(retained);
      }
      const newest = messages.at(-1);
      return { messages, isEnd: newest === undefined || placeOf(newest) >= last };
    },

    conversationsOf: (userId, groupIds) =>
      listConversations(
        get,
        userId,
        groupIds.map((groupId) => conversationToken({ groupId })),
      ),

    markRead: (...mark) => markRead({ broker, get, timeoutMs }, ...mark),
  };
}

function placeOf(message: Message): number {
  return Number(message.conversationSequence);
}
