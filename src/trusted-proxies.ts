import { BlockList, isIP } from "node:net";

/** Finds the client behind a trusted proxy in its `x-forwarded-for`. */
export type ClientOf = (forwardedFor: string) => string;

/** What to make of a peer by its address; undefined for one that is no trusted proxy. */
export type TrustedProxies = (address: string) => ClientOf | undefined;

/**
 * Creates what knows the trusted proxies.
 *
 * @param list their addresses, or ranges of them such as `10.0.0.0/8`.
 */
export function createTrustedProxies(list: readonly string[]): TrustedProxies {
  if (list.length === 0) return () => undefined;
  const known = new BlockList();
  for (const item of list) {
    const [address = "", bits] = item.split("/");
    const family = familyOf(address);
    if (bits === undefined) known.addAddress(address, family);
    else known.addSubnet(address, Number(bits), family);
  }
  const isTrusted = (address: string) => known.check(address, familyOf(address));

  return (peer) => {
    const proxy = plainAddress(peer);
    if (isIP(proxy) === 0 || !isTrusted(proxy)) return undefined;
    return (forwardedFor) => {
      let client = proxy;
      // Each proxy adds whom it has seen at the end: what is left of the first that is not trusted, anybody can say.
      for (let end = forwardedFor.length; end > 0; ) {
        const comma = forwardedFor.lastIndexOf(",", end - 1);
        const address = plainAddress(forwardedFor.slice(comma + 1, end).trim());
        if (isIP(address) === 0) return client;
        client = address;
        if (!isTrusted(address)) return client;
        end = comma;
      }
      return client;
    };
  };
}

/** Whether a text is an address, or a range of addresses. */
export function isAddressRange(text: string): boolean {
  const [address = "", bits, ...more] = text.split("/");
  const family = isIP(address);
  if (family === 0 || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
}

/** IPv4 as such (`10.0.0.7`) also on a socket that speaks IPv6. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, "");
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIP(address) === 6 ? "ipv6" : "ipv4";
}
