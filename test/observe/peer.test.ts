import { expect, test } from "vitest";
import { peerOf } from "../../src/observe/peer.ts";
import { createTrustedProxies } from "../../src/trusted-proxies.ts";

test.each([
  ["127.0.0.1", "127.0.0.1"],
  ["::ffff:10.0.0.7", "10.0.0.7"],
  ["::1", "::1"],
  ["2001:db8::ffff:1", "2001:db8::ffff:1"],
  ["", ""],
])("the peer at %s is %s", (remoteAddress, peer) => {
  const headers = { "x-forwarded-for": "203.0.113.9" };
  expect(peerOf({ connection: { remoteAddress, isHttp2: true }, headers })).toBe(peer);
});

test("the peer behind a trusted proxy is who that has seen", () => {
  const clientOf = createTrustedProxies(["10.0.0.7"])("10.0.0.7");
  const connection = { remoteAddress: "10.0.0.7", isHttp2: true, peer: { certificate: undefined, clientOf } };
  expect(peerOf({ connection, headers: { "x-forwarded-for": "203.0.113.9" } })).toBe("203.0.113.9");
  expect(peerOf({ connection, headers: {} })).toBe("10.0.0.7");
});
