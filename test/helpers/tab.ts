// What runs in a tab of the tests: one client, whose settings are in the address, and what it was given.
import { type CursorStore, createClient, indexedDbCursorStore, webStorageCursorStore } from "../../src/client/index.ts";

/** What a test reads from the tab's window. */
export interface Tab {
  /** The data of each must-reach notification, in the order of the calls. */
  readonly seen: string[];
  readonly errors: string[];
  readonly status: () => string;
  /** What the policy of the page has kept it from. */
  readonly violations: string[];
  /** The store of the tests of it. */
  readonly store: CursorStore;
}

const settings = new URLSearchParams(location.hash.slice(1));
const seen: string[] = [];
const errors: string[] = [];
const violations: string[] = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.blockedURI));
const stores = { localStorage: () => webStorageCursorStore(localStorage), indexedDB: () => indexedDbCursorStore() };
const kind = settings.get("cursorStore") === "localStorage" ? "localStorage" : "indexedDB";
const store = stores[kind]();
const client = createClient({
  baseUrl: settings.get("baseUrl") ?? "",
  token: settings.get("token") ?? "",
  deviceId: settings.get("deviceId") ?? undefined,
  shareStream: settings.get("shareStream") === "false" ? false : undefined,
  cursorStore: settings.has("cursorStore") ? store : undefined,
  onError: (error) => errors.push(String(error)),
});
client.onRecvCustomBusinessMessage(({ data }) => void seen.push(data));
const tab: Tab = { seen, errors, violations, store, status: client.status };
Object.assign(globalThis, { tab });
void client.connect();
