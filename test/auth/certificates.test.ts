import { afterEach, expect, test, vi } from "vitest";
import { createCertificateAdmins } from "../../src/auth/authenticate.ts";

const find = createCertificateAdmins(["DNS:orders.internal", "URI:spiffe://prod/bills"]);
const hour = 3_600_000;
const certificate = (names: readonly string[], expiresAtMs = Date.now() + hour) => ({
  names,
  validFromMs: 0,
  expiresAtMs,
});

afterEach(() => {
  vi.useRealTimers();
});

test.each(["DNS:orders.internal", "URI:spiffe://prod/bills"])("who is called %s is an admin", (name) => {
  expect(find(certificate(["CN:x", name]), {})).toMatchObject({ userId: name, isAdmin: true, platformId: 10 });
});

test.each([
  ["another name", "DNS:bills.internal"],
  ["a name of another kind", "CN:orders.internal"],
  ["another case", "DNS:Orders.internal"],
  ["a pattern that would match", "DNS:*.internal"],
  ["part of a name", "DNS:orders"],
  ["more than a name", "DNS:orders.internal.example"],
])("%s is nobody's", (_, name) => {
  expect(find(certificate([name]), {})).toBeUndefined();
});

test.each(["token", "authorization", "origin", "sec-fetch-site"])(
  "a request with %s is not by certificate",
  (field) => {
    for (const value of ["x", ""])
      expect(find(certificate(["DNS:orders.internal"]), { [field]: value })).toBeUndefined();
  },
);

test("it counts until it ends", () => {
  vi.useFakeTimers();
  const shown = certificate(["DNS:orders.internal"]);
  expect(find(shown, {})).toBeDefined();
  vi.advanceTimersByTime(hour);
  expect(find(shown, {})).toBeUndefined();
});

test("without a list no certificate is anybody's", () => {
  expect(createCertificateAdmins([])(certificate(["DNS:orders.internal"]), {})).toBeUndefined();
});
