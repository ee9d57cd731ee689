import { expect, test } from "vitest";
import { peerOf } from "../../src/observe/peer.ts";

test.each([
  ["127.0.0.1", "127.0.0.1"],
  ["::ffff:10.0.0.7", "10.0.0.7"],
  ["::1", "::1"],
  ["2001:db8::ffff:1", "2001:db8::ffff:1"],
  [undefined, ""],
])("the peer at %s is %s", (remoteAddress, peer) => {
  expect(peerOf({ remoteAddress })).toBe(peer);
});
