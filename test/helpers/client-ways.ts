import { createConnectTransport } from "@connectrpc/connect-web";
import type { ClientOptions } from "../../src/client/index.ts";

/** The ways of a client in Node to a service, each named as the method of its sessions, and the options that lead there. */
export const clientWays: readonly [way: string, toOptions: (baseUrl: string) => Pick<ClientOptions, "transport">][] = [
  ["Receive", () => ({})],
  ["Subscribe", (baseUrl) => ({ transport: createConnectTransport({ baseUrl, useBinaryFormat: true }) })],
];
