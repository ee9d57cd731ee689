import type { Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";

/**
 * Connect over fetch, in binary.
 *
 * @throws {TypeError} for a baseUrl that is not an http or https address: fetch would report it as a broken network.
 */
export function createFetchTransport(baseUrl: string): Transport {
  if (!/^https?:$/.test(new URL(baseUrl).protocol)) throw new TypeError(`expected an http(s) baseUrl, not ${baseUrl}`);
  return createConnectTransport({ baseUrl, useBinaryFormat: true });
}
