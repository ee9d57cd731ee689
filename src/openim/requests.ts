/** What OpenIM's clients ask for, and are told, over the WebSocket: its `reqIdentifier`. */
export const identifiers = {
  getMaxSeq: 1_001,
  pullMessagesBySeqs: 1_002,
  getConversationsHasReadAndMaxSeq: 1_006,
  push: 2_001,
  kick: 2_002,
  logout: 2_003,
  setBackgroundStatus: 2_004,
  subscribeOnlineStatus: 2_005,
} as const;

/**
 * Requests that are answered without anything in it. 1001 would list the newest number of each conversation: a fresh
 * install takes that for its own and skips what is stored. Of 1006, the JavaScript SDK stumbles over each entry.
 */
export const emptyAnswers: ReadonlySet<number> = new Set([
  identifiers.getMaxSeq,
  identifiers.getConversationsHasReadAndMaxSeq,
  identifiers.logout,
  identifiers.setBackgroundStatus,
  identifiers.subscribeOnlineStatus,
]);
