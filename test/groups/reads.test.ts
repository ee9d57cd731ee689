import { describe, expect, test } from "vitest";
import { type Ask, type DirectGetRequest, type Page, readsOver } from "../../src/broker/reads/direct-get.ts";
import { toToken } from "../../src/broker/subjects.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { groupInfoSubject } from "../../src/groups/layout.ts";
import { readGroup, readLast } from "../../src/groups/reads.ts";
import { encodeGroup, type GroupRecord, noProfile } from "../../src/groups/records.ts";

const message = (subject: string, sequence: number, payload: Uint8Array = Buffer.from(subject)) => ({
  subject,
  sequence,
  payload,
  timeMs: 0,
  header: () => "",
});
const page = (messages: Page["messages"], pending: number, upToSequence?: number) => ({
  messages,
  pending,
  upToSequence,
});

/** Answers the given pages, one after the other, and notes the requests. */
function answer(...pages: (Page | undefined)[]) {
  const requests: DirectGetRequest[] = [];
  const ask: Ask = async (_stream, request) => {
    requests.push(request);
    if (pages.length === 0) throw new Error("one read too many");
    return pages.shift();
  };
  return { get: readsOver(ask, () => {}), requests };
}

const soon = () => deadlineIn(5_000);
const sequences = (records: ReadonlyMap<string, { readonly sequence: number }>) =>
  Object.fromEntries([...records].map(([subject, { sequence }]) => [subject, sequence]));

describe("a read of the newest records", () => {
  test("goes on after each page, and a record that changed meanwhile counts as it is on the later one", async () => {
    const { get, requests } = answer(
      page([message("a", 11), message("b", 12)], 2, 20),
      page([message("c", 13), message("a", 21)], 0, 21),
    );
    const records = await readLast(get, ["a", "b", "c"], { after: 10, deadline: soon() });
    expect(sequences(records)).toEqual({ a: 21, b: 12, c: 13 });
    expect(requests.map(({ seq }) => seq)).toEqual([11, 13]);
  });

  test("begins again when a page comes from a copy of the stream that is behind", async () => {
    const { get, requests } = answer(
      page([message("a", 1)], 2, 20),
      // Here, b's record from 19 is not known yet; its older one is before the start of this page.
      page([message("c", 13)], 0, 18),
      page([message("a", 1)], 2, 20),
      page([message("c", 13), message("b", 19)], 0, 20),
    );
    const records = await readLast(get, ["a", "b", "c"], { after: 0, deadline: soon() });
    expect(sequences(records)).toEqual({ a: 1, b: 19, c: 13 });
    expect(requests.map(({ seq }) => seq)).toEqual([1, 2, 1, 2]);
  });

  test("of nothing is empty", async () => {
    expect(await readLast(answer(page([], 0)).get, ["a"], { after: 0, deadline: soon() })).toEqual(new Map());
  });
});

describe("a read of all under a filter", () => {
  test("is one read when the index answers it", async () => {
    const { get, requests } = answer(page([message("a", 1), message("b", 2)], 0, 9));
    expect(sequences(new Map((await get.under("S", "x.*")).map((found) => [found.subject, found])))).toEqual({
      a: 1,
      b: 2,
    });
    expect(requests).toEqual([expect.objectContaining({ multi_last: ["x.*"] })]);
  });

  test.each([
    ["there are too many subjects", undefined],
    ["there are too many bytes", page([message("a", 1)], 5, 9)],
  ] as const)("goes along the stream when %s", async (_, indexed) => {
    const { get, requests } = answer(
      indexed,
      page([message("a", 1), message("b", 2)], 2),
      page([message("c", 5), message("a", 7)], 0),
    );
    expect(sequences(new Map((await get.under("S", "x.*")).map((found) => [found.subject, found])))).toEqual({
      a: 7,
      b: 2,
      c: 5,
    });
    expect(requests.slice(1).map(({ next_by_subj, seq }) => [next_by_subj, seq])).toEqual([
      ["x.*", 1],
      ["x.*", 3],
    ]);
  });
});

describe("a group", () => {
  const info = (version: number): GroupRecord => ({
    groupId: "g",
    ...noProfile,
    ownerUserId: "owner",
    creatorUserId: "imAdmin",
    createTime: 1,
    memberCount: 0,
    status: "active",
    version,
    changeId: "",
  });
  const infoSubject = groupInfoSubject(toToken("g"));
  const found = (version: number) => page([message(infoSubject, version * 10, encodeGroup(info(version)))], 0, 100);
  const options = { subjects: ["s"], minVersion: 3 };

  test("is read again until it has the version", async () => {
    const { get, requests } = answer(page([], 0), found(2), found(3));
    const snapshot = await readGroup(get, "g", { ...options, deadline: soon() });
    expect(snapshot).toEqual({ group: info(3), sequence: 30, memberships: new Map() });
    expect(requests.map(({ multi_last }) => multi_last)).toEqual(Array(3).fill([infoSubject, "s"]));
  });

  test("is given up with 90004 when nobody has the version in time", async () => {
    const behind = readsOver(
      async () => found(2),
      () => {},
    );
    const thrown = await readGroup(behind, "g", { ...options, deadline: deadlineIn(100) }).catch(
      (error: unknown) => error,
    );
    expect(toErrorFacts(thrown)).toMatchObject({ errCode: 90004 });
  });
});
