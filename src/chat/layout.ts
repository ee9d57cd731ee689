import type { StreamSpec } from "../broker/declare.ts";
import { toToken } from "../broker/subjects.ts";

/** The stream of all chat copies, of what is known about their conversations, and of the conversations of each user. */
export const chatStream = "CHAT";

export const chatSpecs: readonly StreamSpec[] = [
  {
    name: chatStream,
    description: "chat copies of notifications, and the conversations that hold them",
    // A subject is a place, or a record that is replaced. Making room would forget where conversations are.
    subjects: ["chat.>", "conversation.*.*"],
    refusesWhenFull: true,
    hasTtls: true,
  },
];

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
