import { afterAll, beforeAll, expect, test } from "vitest";
import { answerPreflight, corsFields } from "../../src/http/cors.ts";
import { createListener } from "../../src/http/listener.ts";
import { deaf } from "../../src/http/receiver.ts";
import { createLog } from "../../src/observe/log.ts";

const listener = createListener({
  log: createLog("silent"),
  accept(exchange) {
    if (!answerPreflight(exchange)) exchange.answer([":status", "200", ...corsFields], Buffer.from("the real answer"));
    return deaf;
  },
});
let url: string;

beforeAll(async () => {
  url = `${(await listener.listen({ host: "127.0.0.1", port: 0 })).url}/msg/send_business_notification`;
});
afterAll(() => listener.drain(0));

const items = (header: string | null) => (header ?? "").split(",").map((item) => item.trim());

test.each([
  ["a preflight", "OPTIONS"],
  ["a request", "POST"],
])("%s from any origin is allowed, as by OpenIM", async (_, method) => {
  const { status, headers } = await fetch(url, { method, headers: { origin: "https://app.example" } });
  expect(status).toBe(200);
  expect(headers.get("access-control-allow-origin")).toBe("*");
  expect(items(headers.get("access-control-allow-methods"))).toContain("*");
  expect(items(headers.get("access-control-allow-headers"))).toContain("*");
  expect(headers.get("access-control-allow-credentials")).toBe("false");
  expect(headers.get("access-control-max-age")).toBe("172800");
  expect(items(headers.get("access-control-expose-headers"))).toContain("*");
});

test("authorization is allowed by name, since the wildcard leaves it out (Fetch, 4.9)", async () => {
  const { headers } = await fetch(url, { method: "OPTIONS" });
  expect(items(headers.get("access-control-allow-headers"))).toContain("authorization");
});

test("a preflight is answered in OpenIM's words, anything else is left to the service", async () => {
  const preflight = await fetch(url, { method: "OPTIONS" });
  expect(preflight.headers.get("content-type")).toBe("application/json");
  expect(await preflight.text()).toBe('"Options Request!"');
  for (const method of ["GET", "POST", "DELETE"]) {
    expect(await (await fetch(url, { method })).text()).toBe("the real answer");
  }
});
