import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../src/gen/grpc/health/v1/health_pb.ts";
import { createHealthService } from "../../src/grpc-health/service.ts";

const maxWatches = 3;

/** A health service of which the test says what serves. */
function useHealth(services: string[] = ["shop.Orders", "shop.Stock"]) {
  const down = new Set<string>();
  const listeners = new Set<() => void>();
  const closing = new AbortController();
  const service = createHealthService({
    services,
    isServing: async (name) => !down.has(name),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    closing: closing.signal,
    maxWatches,
  });
  const client = createClient(
    Health,
    createRouterTransport((router) => router.service(Health, service)),
  );
  return {
    client,
    listeners,
    close: () => closing.abort(new ConnectError("stopping", Code.Unavailable)),
    set(name: string, serves: boolean) {
      if (serves) down.delete(name);
      else down.add(name);
      for (const listener of listeners) listener();
    },
    watch(name: string) {
      const stream = new AbortController();
      const events = client.watch({ service: name }, { signal: stream.signal })[Symbol.asyncIterator]();
      const next = async () => (await events.next()).value?.status;
      return { next, end: () => stream.abort() };
    },
  };
}

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => expect.fail("it went well"),
    (error) => ConnectError.from(error).code,
  );

test("Check tells of the server, of a service, and that there is none of a name", async () => {
  const { client, set } = useHealth();
  set("shop.Stock", false);
  expect(await client.check({})).toMatchObject({ status: Status.SERVING });
  expect(await client.check({ service: "shop.Orders" })).toMatchObject({ status: Status.SERVING });
  expect(await client.check({ service: "shop.Stock" })).toMatchObject({ status: Status.NOT_SERVING });
  for (const service of ["shop.Order", "shop", "__proto__", "shop.orders"]) {
    expect(await codeOf(client.check({ service }))).toBe(Code.NotFound);
  }
});

test("List has all of them", async () => {
  const { client, set } = useHealth();
  set("", false);
  expect((await client.list({})).statuses).toMatchObject({
    "": { status: Status.NOT_SERVING },
    "shop.Orders": { status: Status.SERVING },
    "shop.Stock": { status: Status.SERVING },
  });
  const names = (count: number) => Array.from({ length: count }, (_, i) => `shop.S${i}`);
  expect(Object.keys((await useHealth(names(99)).client.list({})).statuses)).toHaveLength(100);
  expect(() => useHealth(names(100))).toThrow(RangeError);
});

test("Watch tells the status at once, then each change, and nothing twice", async () => {
  const { set, watch, listeners } = useHealth();
  const orders = watch("shop.Orders");
  expect(await orders.next()).toBe(Status.SERVING);
  const next = orders.next();
  set("shop.Stock", false);
  set("shop.Orders", true);
  set("shop.Orders", false);
  expect(await next).toBe(Status.NOT_SERVING);
  // What has changed and changed back before it is asked for is no change.
  set("shop.Orders", true);
  set("shop.Orders", false);
  const last = orders.next();
  set("shop.Orders", true);
  expect(await last).toBe(Status.SERVING);
  orders.end();
  expect(listeners.size).toBe(0);
});

test("Watch of a service that is not there goes on", async () => {
  const { watch, close, set } = useHealth();
  const nobody = watch("shop.Nobody");
  expect(await nobody.next()).toBe(Status.SERVICE_UNKNOWN);
  const next = codeOf(nobody.next());
  set("shop.Orders", false);
  close();
  expect(await next).toBe(Code.Unavailable);
});

test("when the server stops, all hear that it does not serve, and streams end", async () => {
  const { watch, client, close, listeners } = useHealth();
  const server = watch("");
  expect(await server.next()).toBe(Status.SERVING);
  const next = server.next();
  close();
  expect(await next).toBe(Status.NOT_SERVING);
  expect(await codeOf(server.next())).toBe(Code.Unavailable);
  expect(await client.check({})).toMatchObject({ status: Status.NOT_SERVING });
  const late = watch("shop.Orders");
  expect(await late.next()).toBe(Status.NOT_SERVING);
  expect(await codeOf(late.next())).toBe(Code.Unavailable);
  expect(listeners.size).toBe(0);
});

test("so many may watch, and one more when one has gone", async () => {
  const { watch } = useHealth();
  const watches = [watch(""), watch("shop.Orders"), watch("shop.Nobody")];
  for (const one of watches) await one.next();
  expect(await codeOf(watch("").next())).toBe(Code.ResourceExhausted);
  watches[0]?.end();
  expect(await watch("").next()).toBe(Status.SERVING);
});
