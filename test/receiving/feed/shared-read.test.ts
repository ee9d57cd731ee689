import { describe, expect, test, vi } from "vitest";
import { failure } from "../../../src/errors.ts";
import type { InboxPage } from "../../../src/inbox/read-page.ts";
import type { ReadRequest } from "../../../src/receiving/feed/feed-item.ts";
import { SharedRead } from "../../../src/receiving/feed/shared-read.ts";
import { dataIn } from "../../helpers/frames.ts";
import { createStore, lineage } from "../store.ts";

function openShared(contents: readonly string[] = []) {
  const store = createStore();
  for (const data of contents) store.add(data);
  const inboxRead = vi.fn((_userId: string, options: { after: number; limit: number }) => store.read(options));
  const shared = new SharedRead("alice", { read: inboxRead, lineage: () => lineage });
  return { store, inboxRead, read: (request: ReadRequest) => shared.read(request) };
}

const at = (after: number, { limit = 10, wanted = 0 } = {}) => ({ after, limit, wanted, knownUntilMs: undefined });
const dataOf = ({ entries }: InboxPage) =>
  entries.map((entry) => (entry.kind === "notification" ? dataIn(entry.frame) : entry.kind));

describe("sessions at the same place", () => {
  test("share one read when they ask at the same time", async () => {
    const { inboxRead, read } = openShared(["1", "2"]);
    const pages = await Promise.all([read(at(0)), read(at(0)), read(at(0))]);
    expect(pages.map(dataOf)).toEqual([
      ["1", "2"],
      ["1", "2"],
      ["1", "2"],
    ]);
    expect(inboxRead).toHaveBeenCalledOnce();
    expect(inboxRead).toHaveBeenCalledWith("alice", { after: 0, epoch: "", limit: 10, knownUntilMs: undefined });
  });

  test("share what one of them has just read when they want what is in it", async () => {
    const { store, inboxRead, read } = openShared(["1"]);
    await read(at(1, { wanted: store.add("2") }));
    expect(dataOf(await read(at(1, { wanted: 2 })))).toEqual(["2"]);
    expect(inboxRead).toHaveBeenCalledOnce();
  });

  test("read again when they want something newer, or look without a hint", async () => {
    const { store, inboxRead, read } = openShared(["1"]);
    await read(at(1, { wanted: store.add("2") }));
    store.add("3");
    expect(dataOf(await read(at(1, { wanted: 3 })))).toEqual(["2", "3"]);
    store.add("4");
    expect(dataOf(await read(at(3)))).toEqual(["4"]);
    expect(inboxRead).toHaveBeenCalledTimes(3);
  });

  test("all fail when their read fails, and the next one is a new one", async () => {
    const { inboxRead, read } = openShared(["1"]);
    const error = failure("NetworkError", "test");
    inboxRead.mockRejectedValueOnce(error);
    const both = [read(at(0)), read(at(0))];
    for (const one of both) await expect(one).rejects.toBe(error);
    expect(dataOf(await read(at(0)))).toEqual(["1"]);
    expect(inboxRead).toHaveBeenCalledTimes(2);
  });
});

describe("sessions at different places", () => {
  test("read two at a time", async () => {
    const { inboxRead, read } = openShared();
    const ends: (() => void)[] = [];
    inboxRead.mockImplementation(
      (_userId, { after }) =>
        new Promise((resolve) =>
          ends.push(() =>
            resolve({ entries: [], throughSequence: after, pending: 0, lineage, isLong: false, isStoreChanged: false }),
          ),
        ),
    );
    const pages = Promise.all([1, 2, 3, 4, 5].map((after) => read(at(after))));
    for (let ended = 0; ended < 5; ended++) {
      await vi.waitFor(() => expect(inboxRead).toHaveBeenCalledTimes(Math.min(5, ended + 2)));
      ends[ended]?.();
    }
    expect((await pages).map(({ throughSequence }) => throughSequence)).toEqual([1, 2, 3, 4, 5]);
  });

  test("get each what follows its own", async () => {
    const { read } = openShared(["1", "2", "3"]);
    const pages = await Promise.all([read(at(0)), read(at(1)), read(at(2)), read(at(3))]);
    expect(pages.map(dataOf)).toEqual([["1", "2", "3"], ["2", "3"], ["3"], []]);
  });

  test("get the end of a page that another has just read, without one of their own", async () => {
    const { inboxRead, read } = openShared(["1", "2", "3"]);
    await read(at(0, { wanted: 3 }));
    const page = await read(at(2, { wanted: 3 }));
    expect(dataOf(page)).toEqual(["3"]);
    expect(page).toMatchObject({ throughSequence: 3, pending: 0 });
    expect(inboxRead).toHaveBeenCalledOnce();
  });

  test("never get less than what follows their place, from a page that began later", async () => {
    const { store, read } = openShared(["1", "2"]);
    await read(at(2, { wanted: store.add("3") }));
    expect(dataOf(await read(at(1, { wanted: 3 })))).toEqual(["2", "3"]);
    expect(dataOf(await read(at(0, { wanted: 3 })))).toEqual(["1", "2", "3"]);
  });

  test("with less room get the beginning, know only so far, and are told what is left", async () => {
    const { inboxRead, read } = openShared(["1", "2", "3"]);
    await read(at(0, { wanted: 3 }));
    const page = await read(at(0, { limit: 2, wanted: 3 }));
    expect(dataOf(page)).toEqual(["1", "2"]);
    expect(page).toMatchObject({ throughSequence: 2, pending: 1 });
    expect(inboxRead).toHaveBeenCalledOnce();
  });
});

test("a backlog is not kept in memory for others", async () => {
  const { inboxRead, read } = openShared(Array.from({ length: 9 }, (_, i) => String(i)));
  await read(at(0, { wanted: 9 }));
  await read(at(0, { wanted: 9 }));
  // Nor a page of one that more follows.
  await read(at(0, { limit: 2, wanted: 2 }));
  await read(at(0, { limit: 2, wanted: 2 }));
  expect(inboxRead).toHaveBeenCalledTimes(4);
});
