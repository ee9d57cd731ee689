import type { Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { checkBaseUrl } from "../wire/base-url.ts";

/**
 * Connect over fetch, in binary.
 *
 * @throws {TypeError} for a baseUrl that is not an http or https address.
 */
export function createFetchTransport(baseUrl: string): Transport {
  return createConnectTransport({ baseUrl: checkBaseUrl(baseUrl), useBinaryFormat: true });
}
