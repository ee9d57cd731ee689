import { NoRespondersError, RequestError, TimeoutError } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { again, untilAnswered } from "../../src/broker/until.ts";
import { sayWaiting } from "../../src/broker/waiting-lines.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { failure, toErrorFacts } from "../../src/errors.ts";
import { useBroker } from "../helpers/broker.ts";

const server = useBroker();
let broker: Broker;
beforeAll(async () => {
  const { url, dial } = server;
  const log = pino({ level: "silent" });
  broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log });
});
afterAll(() => broker.close());

const soon = () => deadlineIn(20_000);

describe("a question to the broker", () => {
  test("is asked once when it is answered", async () => {
    let asked = 0;
    expect(await untilAnswered(broker, soon(), async () => ++asked)).toBe(1);
    expect(asked).toBe(1);
  });

  test("is asked once when the answer is an error", async () => {
    let asked = 0;
    const answer = untilAnswered(broker, soon(), async () => {
      asked++;
      throw new Error("no");
    });
    await expect(answer).rejects.toThrow("no");
    expect(asked).toBe(1);
  });

  test.each([
    ["is not answered in time", () => new TimeoutError()],
    ["has nobody to answer it", () => new RequestError("", { cause: new NoRespondersError("nowhere") })],
    ["meets another writer", () => again],
    ["cannot be answered now", () => failure("NetworkError", "a replica is behind")],
  ])("that %s is asked again until the deadline", async (_, outcome) => {
    let asked = 0;
    const ask = async () => {
      const result = outcome();
      if (++asked % 3 === 0) return "answered";
      if (result === again) return result;
      throw result;
    };
    expect(await untilAnswered(broker, soon(), ask)).toBe("answered");
    expect(asked).toBe(3);
    const never = untilAnswered(broker, deadlineIn(300), async () => {
      const result = outcome();
      if (result === again) return result;
      throw result;
    });
    expect(toErrorFacts(await never.catch((error: unknown) => error))).toMatchObject({ errCode: 90004 });
  });

  test("that fails is told of at once, and then every ten seconds", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    onTestFinished(() => void vi.useRealTimers());
    const told: unknown[] = [];
    const tell = sayWaiting((error) => void told.push(error));
    const errors = Array.from({ length: 6 }, (_, n) => failure("NetworkError", `attempt ${n}`));
    let asked = 0;
    const answer = untilAnswered(
      broker,
      soon(),
      async () => {
        if (asked === 4) vi.advanceTimersByTime(10_000);
        const error = errors[asked++];
        if (error !== undefined) throw error;
      },
      tell,
    );
    await answer;
    expect(told).toEqual([errors[0], errors[4]]);
  });

  test("that the broker refuses for good is answered at once, and asked once", async () => {
    let asked = 0;
    const answer = untilAnswered(broker, deadlineIn(600_000), async () => {
      asked++;
      broker.nc.publish("too.large", new Uint8Array(20_000_000));
    });
    expect(toErrorFacts(await answer.catch((error: unknown) => error))).toMatchObject({ errCode: 1001 });
    expect(asked).toBe(1);
  });

  test("is asked again when the broker was killed before it answered", async () => {
    let asked = 0;
    const answer = untilAnswered(broker, soon(), () => {
      if (++asked > 1) return Promise.resolve("answered");
      process.kill(server.pid(), "SIGKILL");
      return new Promise<string>(() => {});
    });
    expect(await answer).toBe("answered");
    expect(asked).toBe(2);
  });

  test("has the time that it was given, when the machine's clock is set", async () => {
    const start = Date.now();
    const clock = vi.spyOn(Date, "now");
    onTestFinished(() => clock.mockRestore());
    let asked = 0;
    const forwards = untilAnswered(broker, deadlineIn(600_000), async () => {
      clock.mockReturnValue(start + 3_600_000);
      return asked++ === 0 ? again : "answered";
    });
    expect(await forwards).toBe("answered");
    const backwards = untilAnswered(broker, deadlineIn(100), async () => {
      clock.mockReturnValue(start - 3_600_000);
      return again;
    });
    expect(toErrorFacts(await backwards.catch((error: unknown) => error))).toMatchObject({ errCode: 90004 });
  });

  test("is not asked, and is 90004, while there is no connection until the deadline", async () => {
    const down = Promise.withResolvers<void>();
    void (async () => {
      for await (const { type } of broker.nc.status()) if (type === "disconnect") down.resolve();
    })();
    await server.stop();
    await down.promise;
    let asked = 0;
    const thrown = await untilAnswered(broker, deadlineIn(200), async () => ++asked).catch((error: unknown) => error);
    expect(toErrorFacts(thrown)).toMatchObject({ errCode: 90004 });
    expect(asked).toBe(0);
  });
});
