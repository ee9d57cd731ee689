import { describe, expect, test, vi } from "vitest";
import { type CursorStore, memoryCursorStore, webStorageCursorStore } from "../../src/client/index.ts";
import { fakeToken, useClient, useFakeService, ways } from "./fake-service.ts";

const often = { interval: 2 };
const alice = fakeToken({ UserID: "alice", PlatformID: 5 });
const aliceKey = '["alice","phone"]';

describe.each(ways)("a client with a cursor store, by %s", (way) => {
  test("saves where it begins, then after the listeners and before the acknowledgement", async () => {
    const service = await useFakeService(way);
    const log: string[] = [];
    const cursorStore: CursorStore = {
      load: async () => undefined,
      save: async (deviceKey, sequence) => void log.push(`save ${deviceKey} ${sequence}`),
    };
    const client = useClient(service, { token: alice, deviceId: "phone", cursorStore });
    client.onRecvCustomBusinessMessage(async ({ sequence }) => void log.push(`handle ${sequence}`));
    service.onAck = (sequence) => void log.push(`ack ${sequence}`);
    void client.connect();
    const session = await service.session();
    session.ready();
    session.notify(1n);
    await service.acked(1n);
    expect(log).toEqual([`save ${aliceKey} 0`, "handle 1", `save ${aliceKey} 1`, "ack 1"]);
  });

  test("begins after the saved sequence, brings the service up to it, and drops what it has handled", async () => {
    const service = await useFakeService(way);
    const cursorStore = memoryCursorStore();
    await cursorStore.save(aliceKey, 70n);
    const client = useClient(service, { token: alice, deviceId: "phone", cursorStore, start: "all" });
    const seen: bigint[] = [];
    client.onRecvCustomBusinessMessage(({ sequence }) => void seen.push(sequence));
    void client.connect();
    const session = await service.session();
    expect(session.request.afterSequence).toBe(70n);
    session.ready(70n);
    await service.acked(70n);
    session.notify(69n);
    session.notify(70n);
    session.notify(71n);
    await service.acked(71n);
    expect(seen).toEqual([71n]);
    expect(await cursorStore.load(aliceKey)).toBe(71n);
  });

  test("tries a failed save again without calling the listeners again", async () => {
    const service = await useFakeService(way);
    const errors: unknown[] = [];
    let saves = 0;
    const cursorStore: CursorStore = {
      load: async () => undefined,
      save: async () => {
        if (++saves === 2 || saves === 3) throw new Error("disk is full");
      },
    };
    const client = useClient(service, { token: alice, cursorStore, onError: (error) => errors.push(error) });
    let calls = 0;
    client.onRecvCustomBusinessMessage(() => void calls++);
    void client.connect();
    const session = await service.session();
    session.ready();
    session.notify(1n);
    await service.acked(1n);
    expect({ calls, saves }).toEqual({ calls: 1, saves: 4 });
    expect(errors.map(String)).toEqual(["Error: disk is full", "Error: disk is full"]);
  });

  test("does not connect before the store has answered", async () => {
    const service = await useFakeService(way);
    let loads = 0;
    const cursorStore: CursorStore = {
      load: async () => {
        if (++loads < 3) throw new Error("store is away");
        return 5n;
      },
      save: async () => {},
    };
    const client = useClient(service, { token: alice, cursorStore });
    void client.connect();
    const session = await service.session();
    expect(session.request.afterSequence).toBe(5n);
    expect({ loads, opened: service.opened() }).toEqual({ loads: 3, opened: 1 });
  });

  test("keeps the cursors of two users of one browser apart", async () => {
    const service = await useFakeService(way);
    const cursorStore = memoryCursorStore();
    await cursorStore.save(aliceKey, 70n);
    const client = useClient(service, { token: fakeToken({ UserID: "bob" }), deviceId: "phone", cursorStore });
    void client.connect();
    expect((await service.session()).request.afterSequence).toBeUndefined();
  });

  test.each([
    ["by its id", { UserID: "日本", PlatformID: 5 }, "phone", '["日本","phone"]'],
    ["by the platform without an id", { UserID: "alice", PlatformID: 5 }, undefined, '["alice",5]'],
    ["by an identity provider's subject", { sub: "alice" }, undefined, '["alice",null]'],
  ])("names the device %s", async (_, claims, deviceId, expected) => {
    const service = await useFakeService(way);
    const keys: string[] = [];
    const cursorStore: CursorStore = { load: async (key) => void keys.push(key), save: async () => {} };
    const client = useClient(service, { token: fakeToken(claims), deviceId, cursorStore });
    void client.connect();
    await service.session();
    expect(keys).toEqual([expected]);
  });

  test("refuses a token that names no user, and one that names another user than before", async () => {
    const service = await useFakeService(way);
    const cursorStore = memoryCursorStore();
    const unknown = useClient(service, { token: "opaque", cursorStore });
    await expect(unknown.connect()).rejects.toMatchObject({ errCode: 1503 });

    const users = ["alice", "bob"];
    const client = useClient(service, { token: () => fakeToken({ UserID: users.shift() }), cursorStore });
    void client.connect();
    const session = await service.session();
    session.ready();
    session.end();
    await vi.waitFor(() => expect(client.status()).toBe("closed"), often);
    expect(service.opened()).toBe(1);
  });
});

function fakeStorage(): Pick<Storage, "getItem" | "setItem"> & { items: Map<string, string> } {
  const items = new Map<string, string>();
  return { items, getItem: (name) => items.get(name) ?? null, setItem: (name, value) => void items.set(name, value) };
}

describe.each([
  ["memoryCursorStore", memoryCursorStore],
  ["webStorageCursorStore", () => webStorageCursorStore(fakeStorage())],
])("%s", (_, createStore) => {
  test("gives back what was saved, by device", async () => {
    const store = createStore();
    expect(await store.load("a")).toBeUndefined();
    await store.save("a", 0n);
    expect(await store.load("a")).toBe(0n);
    await store.save("a", 18_446_744_073_709_551_615n);
    expect(await store.load("a")).toBe(18_446_744_073_709_551_615n);
    expect(await store.load("b")).toBeUndefined();
  });

  test("keeps the epoch, and takes a smaller sequence of another one", async () => {
    const store = createStore();
    await store.save("a", 5n, "one");
    expect(await store.load("a")).toEqual({ sequence: 5n, epoch: "one" });
    await store.save("a", 4n, "one");
    expect(await store.load("a")).toEqual({ sequence: 5n, epoch: "one" });
    await store.save("a", 2n, "two");
    expect(await store.load("a")).toEqual({ sequence: 2n, epoch: "two" });
  });

  test("does not go back", async () => {
    const store = createStore();
    await store.save("a", 5n);
    await store.save("a", 4n);
    expect(await store.load("a")).toBe(5n);
  });
});

test("webStorageCursorStore prefixes its items and ignores what it cannot have written", async () => {
  const storage = fakeStorage();
  const store = webStorageCursorStore(storage);
  await store.save("a", 7n);
  expect([...storage.items]).toEqual([["mustreach.cursor.a", "7"]]);
  for (const foreign of ["", "x", "-1", "0x10", "1.5", "99999999999999999999999"]) {
    storage.items.set("mustreach.cursor.a", foreign);
    expect(await store.load("a")).toBeUndefined();
  }
});
