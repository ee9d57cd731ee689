import { EventEmitter } from "node:events";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/config.ts";
import { failure, retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";
import { createLink, type Endpoint, LinkLostError } from "../../src/workers/link.ts";

interface Calculator {
  double(n: number): number | Promise<number>;
  fail(how: "row" | "config" | "other"): void;
}

/** Two ends of a channel that copies, as that of a process does. */
function connectEnds() {
  const ends = [new EventEmitter(), new EventEmitter()] as const;
  const toEndpoint = (own: EventEmitter, other: EventEmitter): Endpoint => ({
    on: (event: string, listener: (message: unknown) => void) => own.on(event, listener),
    send(message, callback) {
      const copy = structuredClone(message);
      setImmediate(() => {
        other.emit("message", copy);
        callback(null);
      });
      return true;
    },
  });
  const disconnect = () => {
    for (const end of ends) end.emit("disconnect");
  };
  return { asker: toEndpoint(ends[0], ends[1]), answerer: toEndpoint(ends[1], ends[0]), disconnect };
}

const open = (calculator: Calculator) => {
  const { asker, answerer, disconnect } = connectEnds();
  createLink<Calculator, object>(answerer, calculator);
  return { link: createLink<object, Calculator>(asker, {}), disconnect };
};

const calculator: Calculator = {
  double: (n) => n * 2,
  fail(how) {
    if (how === "row") throw failure("ConnOverMaxNumLimit", "too many", undefined, { retryAfterMs: 1_234 });
    throw how === "config" ? new ConfigError("a bad setting") : new Error("another");
  },
};

describe("a link", () => {
  test("gives each who asks its own answer, in whatever order they come", async () => {
    const first = Promise.withResolvers<number>();
    const { link } = open({ ...calculator, double: (n) => (n === 1 ? first.promise : n * 2) });
    const one = link.ask("double", 1);
    expect(await link.ask("double", 2)).toBe(4);
    first.resolve(2);
    expect(await one).toBe(2);
  });

  test("passes errors on: those of the table with their facts, a bad setting as one, others by their message", async () => {
    const { link } = open(calculator);
    const row = await link.ask("fail", "row").catch((error: unknown) => error);
    expect(toErrorFacts(row)).toMatchObject({ errCode: 1601, errDlt: "too many" });
    expect(retryAfterMsOf(row)).toBe(1_234);
    await expect(link.ask("fail", "config")).rejects.toThrow(new ConfigError("a bad setting"));
    await expect(link.ask("fail", "other")).rejects.toThrow(new Error("another"));
  });

  test("that is lost answers nobody any more", async () => {
    const { link, disconnect } = open({ ...calculator, double: () => new Promise(() => {}) });
    const asked = link.ask("double", 1);
    asked.catch(() => {});
    disconnect();
    await expect(asked).rejects.toThrow(LinkLostError);
    await expect(link.ask("double", 2)).rejects.toThrow(LinkLostError);
  });
});
