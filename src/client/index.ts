// The package's `mustreach/client`: what a device uses to receive, and an app's back end to send. Runs in Node and in
// browsers.
export { createClient } from "./client.ts";
export type { ClientOptions, ClientStatus } from "./client-options.ts";
export { type CursorStore, memoryCursorStore, webStorageCursorStore } from "./cursor-store.ts";
export { indexedDbCursorStore } from "./indexed-db-cursor-store.ts";
export type { MustreachClient } from "./mustreach-client.ts";
export type {
  BusinessNotification,
  ChatMessage,
  NotificationGap,
  RecalledNotification,
  SettledNotification,
} from "./notification.ts";
export {
  createSender,
  type OutgoingNotification,
  type Sender,
  type SenderOptions,
  type SentNotification,
} from "./sender.ts";
export type { Cursor } from "./wire/cursor.ts";
export { type ErrorFacts, MustreachClientError } from "./wire/error.ts";
export type { Token } from "./wire/token.ts";
