import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { readCertificate } from "../../src/tls/peer-certificate.ts";
import { createAuthority } from "../helpers/certificates.ts";

const ca = await createAuthority();
const namesOf = async (request: Parameters<typeof ca.issue>[0]) =>
  readCertificate(new X509Certificate((await ca.issue({ ...request, usage: "client" })).cert))?.names;

test("the names are those of DNS and URI, and the one common name, each with its kind", async () => {
  const uri = ["spiffe://prod/orders"];
  expect(await namesOf({ name: "orders", dns: ["orders.internal", "*.internal"], uri })).toEqual([
    "DNS:orders.internal",
    "DNS:*.internal",
    "URI:spiffe://prod/orders",
    "CN:orders",
  ]);
  expect(await namesOf({ name: "orders" })).toEqual(["CN:orders"]);
  expect(await namesOf({ ip: ["10.0.0.7"] })).toEqual([]);
});

test.each([
  ["a name that ends another", { dns: ["a.internal, DNS:admin.internal"] }],
  ["a name that ends another kind", { uri: ["http://a/, DNS:admin.internal"] }],
  ["quotes", { uri: ['http://a/", DNS:admin.internal'] }],
  ["a line end", { dns: ["a.internal\nDNS:admin.internal"] }],
  ["a zero", { dns: ["admin.internal\0.evil.example"] }],
])("no %s makes a name that nobody has certified", async (_, request) => {
  expect(await namesOf(request)).not.toContain("DNS:admin.internal");
});

test.each([
  ["two common names", "orders,CN=admin"],
  ["one with a second line", "orders\\0ACN=admin"],
])("%s are none", async (_, name) => {
  expect(await namesOf({ name })).not.toContain("CN:admin");
});

test("nobody's is none", () => {
  expect(readCertificate(undefined)).toBeUndefined();
});
