import { describe, expect, onTestFinished, test, vi } from "vitest";
import { type CursorStore, memoryCursorStore } from "../../src/client/index.ts";
import { type ErrorName, errorTable, failure } from "../../src/errors.ts";
import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { fakeToken, useClient, useFakeService, ways } from "./fake-service.ts";

const often = { interval: 2 };

describe.each(ways)("by %s", (way) => {
  describe("reconnect", () => {
    test("after the service was killed, from the cursor, without repeating what is being handled", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      const seen: bigint[] = [];
      const gate = Promise.withResolvers<void>();
      client.onRecvCustomBusinessMessage(async ({ sequence }) => {
        seen.push(sequence);
        if (sequence === 2n) await gate.promise;
      });
      const connecting = client.connect();
      const first = await service.session();
      first.ready();
      await connecting;
      for (const sequence of [1n, 2n, 3n]) first.notify(sequence);
      await service.acked(1n);
      await vi.waitFor(() => expect(seen).toEqual([1n, 2n]), often);
      await service.kill();
      await vi.waitFor(() => expect(client.status()).toBe("waiting"), often);
      await service.start();
      const second = await service.session();
      expect(second.request.afterSequence).toBe(1n);
      second.ready(1n);
      for (const sequence of [2n, 3n, 4n]) second.notify(sequence);
      gate.resolve();
      await service.acked(4n);
      expect(seen).toEqual([1n, 2n, 3n, 4n]);
    });

    test("each notification is handled once and in order over broken streams and failing listeners", async () => {
      const service = await useFakeService(way);
      const client = useClient(service, { reconnect: { minDelayMs: 1, maxDelayMs: 2 }, retry: { minDelayMs: 1 } });
      const last = 150n;
      const handled: bigint[] = [];
      let calls = 0;
      client.onRecvCustomBusinessMessage(async ({ sequence }) => {
        await new Promise(setImmediate);
        if (++calls % 7 === 0) throw new Error("now and then");
        handled.push(sequence);
      });
      // A service that replays after the cursor and breaks each stream a little later than the one before.
      const serving = (async () => {
        for (let length = 1n; service.acks.every(({ sequence }) => sequence < last); length++) {
          const session = await service.session();
          const after = session.request.afterSequence ?? 0n;
          session.ready(after);
          for (let n = after + 1n; n <= last && n <= after + length; n++) session.notify(n);
          if (length % 2n === 0n) await service.acked(after + 1n > last ? last : after + 1n);
          session.end(length % 3n === 0n ? failure("NetworkError", "broken") : undefined);
        }
      })();
      await client.connect();
      await service.acked(last);
      await serving;
      expect(handled).toEqual(Array.from({ length: Number(last) }, (_, i) => BigInt(i + 1)));
      expect(calls).toBeGreaterThan(handled.length);
      expect(service.opened()).toBeGreaterThan(5);
    });

    test("connect() waits for a service that starts later", async () => {
      const service = await useFakeService(way);
      await service.kill();
      const errors: unknown[] = [];
      const client = useClient(service, { onError: (error) => errors.push(error) });
      const connecting = client.connect();
      await vi.waitFor(() => expect(errors.length).toBeGreaterThan(2), often);
      expect(errors[0]).toMatchObject({ name: "MustreachClientError", errCode: 90004, errMsg: "NetworkError" });
      await service.start();
      (await service.session()).ready();
      await connecting;
      expect(client.status()).toBe("ready");
    });

    test("follows the service's advice and does not report it as an error", async () => {
      const service = await useFakeService(way);
      const errors: unknown[] = [];
      const client = useClient(service, { onError: (error) => errors.push(error), random: () => 0.5 });
      const connecting = client.connect();
      const session = await service.session();
      session.ready();
      await connecting;
      const advisedAt = performance.now();
      session.send({ case: "reconnect", value: { afterMs: 200, reason: "drain" } });
      await service.session();
      // 200 and half of the jitter of 100; setTimeout may be a millisecond early.
      expect(performance.now() - advisedAt).toBeGreaterThanOrEqual(248);
      expect(errors).toEqual([]);
      // It does not wait for the service to end the stream.
      await vi.waitFor(() => expect(session.left.aborted).toBe(true), often);
    });

    test("backs off while connecting fails and begins again at the first delay after a ready", async () => {
      const service = await useFakeService(way);
      const client = useClient(service, { reconnect: { minDelayMs: 20, maxDelayMs: 10_000 }, random: () => 0 });
      const waits = vi.spyOn(globalThis, "setTimeout");
      onTestFinished(() => waits.mockRestore());
      /** The delays between attempts that were asked for since the last time. */
      const delays = () => {
        const asked = waits.mock.calls.map(([, ms]) => ms ?? 0);
        waits.mockClear();
        return asked.filter((ms) => [10, 20, 40, 80, 160, 320].includes(ms));
      };
      void client.connect();
      for (let i = 0; i < 5; i++) {
        (await service.session()).end(failure("ServerInternalError", "a mistake"));
      }
      const session = await service.session();
      expect(delays()).toEqual([10, 20, 40, 80, 160]);
      session.ready();
      await vi.waitFor(() => expect(client.status()).toBe("ready"), often);
      session.end();
      await service.session();
      expect(delays()).toEqual([10]);
    });

    test("a stream that falls silent is dead", async () => {
      const service = await useFakeService(way);
      const errors: unknown[] = [];
      const client = useClient(service, { idleTimeoutMs: 300, onError: (error) => errors.push(error) });
      const connecting = client.connect();
      const silent = await service.session();
      silent.ready();
      await connecting;
      const again = await service.session();
      again.ready();
      await vi.waitFor(() => expect(silent.left.aborted).toBe(true), often);
      expect(String(errors[0])).toBe("MustreachClientError: NetworkError (90004): nothing was heard for 300 ms");
    });

    test("a stream that never becomes ready is dead, too", async () => {
      const service = await useFakeService(way);
      const client = useClient(service, { idleTimeoutMs: 300 });
      const connecting = client.connect();
      await service.session();
      (await service.session()).ready();
      await connecting;
    });

    test("heartbeats keep a stream alive", async () => {
      const service = await useFakeService(way);
      const client = useClient(service, { idleTimeoutMs: 400 });
      const connecting = client.connect();
      const session = await service.session();
      session.ready();
      await connecting;
      let beats = 0n;
      const beat = () => session.send({ case: "heartbeat", value: { droppedOnlinePushes: ++beats } });
      const beating = setInterval(beat, 25);
      await vi.waitFor(() => expect(client.droppedOnlinePushes()).toBeGreaterThan(32), often);
      clearInterval(beating);
      expect(service.opened()).toBe(1);
    });

    test("acknowledges again what the service may have lost", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      client.onRecvCustomBusinessMessage(() => {});
      void client.connect();
      const first = await service.session();
      first.ready();
      first.notify(1n);
      await service.acked(1n);
      service.acks.length = 0;
      first.end();
      (await service.session()).ready(1n);
      await service.acked(1n);
      expect(service.acks).toHaveLength(1);
    });

    test.runIf(way === "Subscribe")("an acknowledgement that fails is tried again while the stream lives", async () => {
      const service = await useFakeService(way);
      const errors: unknown[] = [];
      const client = useClient(service, { onError: (error) => errors.push(error) });
      client.onRecvCustomBusinessMessage(() => {});
      let attempts = 0;
      service.onAck = () => {
        if (++attempts < 3) throw failure("NetworkError", "the broker is away");
      };
      void client.connect();
      const session = await service.session();
      session.ready();
      session.notify(1n);
      await service.acked(1n);
      expect(attempts).toBe(3);
      expect(errors).toMatchObject([{ errCode: 90004 }, { errCode: 90004 }]);
      expect(service.opened()).toBe(1);
    });

    test("a new session sends at once what could not be acknowledged in the old one", async () => {
      const service = await useFakeService(way);
      const client = useClient(service, { retry: { minDelayMs: 60_000 } });
      client.onRecvCustomBusinessMessage(() => {});
      let attempts = 0;
      service.onAck = () => {
        if (++attempts === 1) throw failure("NetworkError", "the broker is away");
      };
      void client.connect();
      const first = await service.session();
      first.ready();
      first.notify(1n);
      await vi.waitFor(() => expect(attempts).toBe(1), often);
      first.end();
      (await service.session()).ready(1n);
      await service.acked(1n);
    });

    test.each([0n, 40n])("a new device keeps the place where its first session began, such as %d", async (begin) => {
      const service = await useFakeService(way);
      const saved: bigint[] = [];
      const cursorStore: CursorStore = {
        load: async () => undefined,
        // Does not end, as on a slow disk.
        save: (_, sequence) => {
          saved.push(sequence);
          return new Promise(() => {});
        },
      };
      const client = useClient(service, { start: "new", token: fakeToken({ UserID: "alice" }), cursorStore });
      void client.connect();
      const first = await service.session();
      expect(first.request).toMatchObject({ start: Start.NEW });
      first.ready(begin);
      first.end();
      // Beginning at START_NEW again would skip what was sent in between.
      expect((await service.session()).request.afterSequence).toBe(begin);
      expect(saved).toEqual([begin]);
    });

    test("a new device that begins with the next notification tells the service, under the name it was given", async () => {
      const service = await useFakeService(way);
      const client = useClient(service, { start: "new" });
      void client.connect();
      (await service.session()).ready(40n, "Web");
      await service.acked(40n);
      expect(service.acks).toMatchObject([{ sequence: 40n, deviceId: "Web" }]);
    });

    test("a device that resumes where the service has it acknowledges nothing", async () => {
      const service = await useFakeService(way);
      const client = useClient(service);
      client.onRecvCustomBusinessMessage(() => {});
      void client.connect();
      const session = await service.session();
      session.ready(40n);
      session.notify(41n);
      await service.acked(41n);
      expect(service.acks).toHaveLength(1);
    });
  });

  describe("fatal errors", () => {
    const names: ErrorName[] = [
      "ArgsError",
      "NoPermissionError",
      "TokenExpiredError",
      "TokenInvalidError",
      "TokenMalformedError",
      "TokenNotValidYetError",
      "TokenUnknownError",
      "TokenKickedError",
      "TokenNotExistError",
    ];

    test.each(names)("%s before ready rejects connect() and stops", async (name) => {
      const service = await useFakeService(way);
      const errors: unknown[] = [];
      const client = useClient(service, { onError: (error) => errors.push(error) });
      const connecting = client.connect();
      (await service.session()).end(failure(name, "as the test says"));
      const expected = { errCode: errorTable[name].errCode, errMsg: name, errDlt: "as the test says" };
      await expect(connecting).rejects.toMatchObject(expected);
      await client.close();
      expect(client.status()).toBe("closed");
      expect(errors).toEqual([expect.objectContaining(expected)]);
      expect(service.opened()).toBe(1);
    });

    test("being superseded by another session of the same device stops a ready client", async () => {
      const service = await useFakeService(way);
      const closed = Promise.withResolvers<unknown>();
      const client = useClient(service, {
        onStatus: (status, error) => status === "closed" && closed.resolve(error),
      });
      const connecting = client.connect();
      const session = await service.session();
      session.ready();
      await connecting;
      session.end(failure("TokenKickedError", "superseded"));
      expect(await closed.promise).toMatchObject({ errCode: 1506 });
      await client.close();
      expect(service.opened()).toBe(1);
    });

    test("what is being handled then is still saved and acknowledged", async () => {
      const service = await useFakeService(way);
      const cursorStore = memoryCursorStore();
      const client = useClient(service, { token: fakeToken({ UserID: "alice" }), deviceId: "phone", cursorStore });
      const gate = Promise.withResolvers<void>();
      const seen: bigint[] = [];
      client.onRecvCustomBusinessMessage(({ sequence }) => {
        seen.push(sequence);
        return gate.promise;
      });
      const connecting = client.connect();
      const session = await service.session();
      session.ready();
      await connecting;
      session.notify(1n);
      session.notify(2n);
      await vi.waitFor(() => expect(seen).toEqual([1n]), often);
      session.end(failure("TokenKickedError", "superseded"));
      await vi.waitFor(() => expect(client.status()).toBe("closed"), often);
      gate.resolve();
      await client.close();
      expect(seen).toEqual([1n]);
      expect(await cursorStore.load('["alice","phone"]')).toBe(1n);
      expect(service.acks.map(({ sequence }) => sequence)).toEqual([1n]);
    });

    test("an acknowledgement that is refused stops the client", async () => {
      const service = await useFakeService(way);
      const closed = Promise.withResolvers<unknown>();
      const client = useClient(service, {
        onStatus: (status, error) => status === "closed" && closed.resolve(error),
      });
      client.onRecvCustomBusinessMessage(() => {});
      service.onAck = () => {
        throw failure("ArgsError", "never assigned");
      };
      void client.connect();
      const session = await service.session();
      session.ready();
      session.notify(1n);
      expect(await closed.promise).toMatchObject({ errCode: 1001, errDlt: "never assigned" });
    });
  });

  describe("token function", () => {
    test("is asked again once when the token has expired", async () => {
      const service = await useFakeService(way);
      let asked = 0;
      const client = useClient(service, { token: async () => `token-${++asked}` });
      const connecting = client.connect();
      (await service.session()).end(failure("TokenExpiredError", "expired"));
      const session = await service.session();
      expect(session.token).toBe("token-2");
      session.ready();
      await connecting;
      // After a ready it may expire again.
      session.end(failure("TokenExpiredError", "expired"));
      const third = await service.session();
      expect(third.token).toBe("token-3");
    });

    test("that gives expired tokens only is fatal", async () => {
      const service = await useFakeService(way);
      const client = useClient(service, { token: () => "old" });
      const connecting = client.connect();
      (await service.session()).end(failure("TokenExpiredError", "expired"));
      (await service.session()).end(failure("TokenExpiredError", "expired"));
      await expect(connecting).rejects.toMatchObject({ errCode: 1501 });
      expect(service.opened()).toBe(2);
    });

    test.runIf(way === "Subscribe")("is asked again for an acknowledgement", async () => {
      const service = await useFakeService(way);
      let asked = 0;
      const client = useClient(service, { token: () => `token-${++asked}` });
      client.onRecvCustomBusinessMessage(() => {});
      let refused = false;
      service.onAck = () => {
        if (refused) return;
        refused = true;
        throw failure("TokenExpiredError", "expired");
      };
      void client.connect();
      const session = await service.session();
      session.ready();
      session.notify(1n);
      await service.acked(1n);
      expect(service.acks).toMatchObject([{ token: "token-2" }]);
      expect(service.opened()).toBe(1);
    });

    test("that fails is tried again with backoff", async () => {
      const service = await useFakeService(way);
      const errors: unknown[] = [];
      let asked = 0;
      const client = useClient(service, {
        token: async () => {
          if (++asked < 3) throw new Error("login is away");
          return "token";
        },
        onError: (error) => errors.push(error),
      });
      const connecting = client.connect();
      (await service.session()).ready();
      await connecting;
      expect(errors.map(String)).toEqual(["Error: login is away", "Error: login is away"]);
    });

    test("that never answers is given up by the watchdog", async () => {
      const service = await useFakeService(way);
      let asked = 0;
      const client = useClient(service, {
        token: () => (++asked === 1 ? new Promise<string>(() => {}) : "token"),
        idleTimeoutMs: 300,
      });
      const connecting = client.connect();
      (await service.session()).ready();
      await connecting;
    });
  });
});
