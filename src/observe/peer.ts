import { createContextKey } from "@connectrpc/connect";

/**
 * The address that the request under way comes from: that of its connection, whatever its headers say, so behind a
 * proxy it is the proxy's. IPv4 is written as such (`10.0.0.7`) also on a socket that speaks IPv6. Empty when the
 * connection was gone before the request was looked at.
 */
export const peerKey = createContextKey("", { description: "the peer's address" });

/** The address at a connection's other end, as {@link peerKey} holds it. */
export function peerOf(socket: { readonly remoteAddress?: string | undefined }): string {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, "") ?? "";
}
