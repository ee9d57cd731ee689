import { createContextKey } from "@connectrpc/connect";
import type { Certificate, Exchange } from "../http2/exchange.ts";

/**
 * The address that the request under way comes from: that of its connection, or what a proxy of
 * MUSTREACH_TRUSTED_PROXIES says. IPv4 is written as such (`10.0.0.7`) also on a socket that speaks IPv6. Empty when the
 * connection was gone before the request was looked at.
 */
export const peerKey = createContextKey("", { description: "the peer's address" });

/** The certificate that the peer has shown. */
export const certificateKey = createContextKey<Certificate | undefined>(undefined, {
  description: "the peer's certificate",
});

/** The address that a request comes from, as {@link peerKey} holds it. */
export function peerOf({ connection, headers }: Pick<Exchange, "connection" | "headers">): string {
  const { peer } = connection;
  const forwardedFor = peer?.clientOf && headers["x-forwarded-for"];
  if (peer?.clientOf !== undefined && forwardedFor !== undefined) return peer.clientOf(forwardedFor);
  return connection.remoteAddress.replace(/^::ffff:(?=\d+\.)/, "");
}
