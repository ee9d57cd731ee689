import type { ListenerAddress } from "../http/listener.ts";

/** Addresses at which a browser finds the service under the name by which it has found the operator's port. */
const anyOrOwn = /^(?:0\.0\.0\.0|::|127\..*|::1|::ffff:127\..*)$/;

/**
 * Where the page finds the API: on its own port, on the host that the request for the page names, unless the API listens
 * on one address only.
 *
 * @param requestUrl of the request for the page.
 */
export function toApiOrigin({ host, port, url }: ListenerAddress, requestUrl: string): string {
  if (!anyOrOwn.test(host)) return url;
  return `${new URL(url).protocol}//${new URL(requestUrl).hostname}:${port}`;
}
