// What runs in a tab of the tests: one client, whose settings are in the address, and what it was given.
import { createClient } from "../../src/client/index.ts";

/** What a test reads from the tab's window. */
export interface Tab {
  /** The data of each must-reach notification, in the order of the calls. */
  readonly seen: string[];
  readonly errors: string[];
  readonly status: () => string;
}

const settings = new URLSearchParams(location.hash.slice(1));
const seen: string[] = [];
const errors: string[] = [];
const client = createClient({
  baseUrl: settings.get("baseUrl") ?? "",
  token: settings.get("token") ?? "",
  deviceId: settings.get("deviceId") ?? undefined,
  shareStream: settings.get("shareStream") === "false" ? false : undefined,
  onError: (error) => errors.push(String(error)),
});
client.onRecvCustomBusinessMessage(({ data }) => void seen.push(data));
const tab: Tab = { seen, errors, status: client.status };
Object.assign(globalThis, { tab });
void client.connect();
