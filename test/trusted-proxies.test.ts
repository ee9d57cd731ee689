import { expect, test } from "vitest";
import { createTrustedProxies, isAddressRange } from "../src/trusted-proxies.ts";

const find = createTrustedProxies(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]);

test.each(["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8::1"])("%s is a trusted proxy", (peer) => {
  expect(find(peer)).toBeDefined();
});

test.each(["11.0.0.1", "192.0.2.8", "2001:db9::1", "", "unix:"])("%j is none", (peer) => {
  expect(find(peer)).toBeUndefined();
});

test.each([
  ["one client", "203.0.113.9", "203.0.113.9"],
  ["what a client has made up comes before what the proxy has seen", "1.2.3.4, 203.0.113.9", "203.0.113.9"],
  ["trusted proxies in between are passed", "1.2.3.4, 203.0.113.9, 192.0.2.7,10.9.9.9", "203.0.113.9"],
  ["clients of the own network", "10.3.3.3, 10.4.4.4", "10.3.3.3"],
  ["what is no address ends the search", "203.0.113.9, unknown, 10.4.4.4", "10.4.4.4"],
  ["nothing", "", "10.0.0.1"],
  ["no address at all", "unknown", "10.0.0.1"],
  ["a port", "203.0.113.9:4711", "10.0.0.1"],
  ["IPv6", "2001:db9::5", "2001:db9::5"],
  ["IPv4 on IPv6", "::ffff:203.0.113.9", "203.0.113.9"],
])("the client behind 10.0.0.1 by x-forwarded-for: %s", (_, forwardedFor, client) => {
  expect(find("10.0.0.1")?.(forwardedFor)).toBe(client);
});

test("without a list nobody is trusted", () => {
  expect(createTrustedProxies([])("127.0.0.1")).toBeUndefined();
});

test.each(["10.0.0.0/8", "10.0.0.1", "::1", "::/0", "0.0.0.0/0"])("%s is an address or a range", (text) => {
  expect(isAddressRange(text)).toBe(true);
});

test.each(["", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "::1/129", "10.0.0.0/-1"])(
  "%j is none",
  (text) => {
    expect(isAddressRange(text)).toBe(false);
  },
);
