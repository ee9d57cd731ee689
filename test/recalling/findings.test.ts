import { beforeAll, describe, expect, test } from "vitest";
import { chunksOf, type Recalls } from "../../src/recalling/findings.ts";
import { useBroker } from "../helpers/broker.ts";
import { useTracking } from "../helpers/tracking.ts";

const instances = useTracking(useBroker());
let here: Recalls;
let elsewhere: Recalls;
let behind: Recalls;

beforeAll(async () => {
  const instance = await instances.open();
  here = instance.recalls;
  behind = instance.recallsBehind;
  elsewhere = (await instances.open()).recalls;
});

let keys = 0;
const newKey = () => (++keys).toString(16).padStart(20, "0");

describe("what a recall found", () => {
  test("is known for sure also where a replica does not have it yet, in all its parts", async () => {
    const key = newKey();
    await (await here.open(key)).add(new Map([["ann", ["phone"]]]));
    await (await here.open(key)).add(new Map([["ben", ["watch"]]]));
    expect((await behind.open(key)).isAny()).toBe(false);
    const findings = await behind.open(key, true);
    expect([findings.isAny(), findings.hasAcknowledged("ann"), findings.hasAcknowledged("ben")]).toEqual([
      true,
      true,
      true,
    ]);
    // Who adds to what it has not seen learns of it.
    const late = await behind.open(key);
    await late.add(new Map([["cyd", ["tablet"]]]));
    expect((await here.open(key)).hasAcknowledged("cyd")).toBe(true);
    expect(late.hasAcknowledged("ann")).toBe(true);
  });

  test("is marked once, also where a replica does not have the mark yet", async () => {
    const key = newKey();
    expect(await behind.mark(key, await here.mark(key, "a").then(() => "b"))).toMatchObject({ replacedBy: "a" });
  });

  test("is known to every instance: the users of whom devices had acknowledged, and these", async () => {
    const key = newKey();
    const found = await here.open(key);
    await found.add(
      new Map([
        ["ann", ["phone", "tablet"]],
        ["日本 *.>", ["phone"]],
      ]),
    );
    for (const findings of [found, await elsewhere.open(key)]) {
      expect(findings.isAny()).toBe(true);
      expect(["ann", "bob", "日本 *.>"].map((user) => findings.hasAcknowledged(user))).toEqual([true, false, true]);
      expect(["phone", "tablet", "watch"].map((device) => findings.hasAcknowledged("ann", device))).toEqual([
        true,
        true,
        false,
      ]);
      expect(findings.hasAcknowledged("bob", "phone")).toBe(false);
    }
  });

  test("is something also when nobody had acknowledged it", async () => {
    const key = newKey();
    expect((await here.open(key)).isAny()).toBe(false);
    await (await here.open(key)).add(new Map());
    const findings = await elsewhere.open(key);
    expect(findings.isAny()).toBe(true);
    await findings.add(new Map([["ann", ["phone"]]]));
    expect((await here.open(key)).hasAcknowledged("ann")).toBe(true);
  });

  test("is of one send only", async () => {
    const [key, other] = [newKey(), newKey()];
    await (await here.open(key)).add(new Map([["ann", ["phone"]]]));
    const findings = await here.open(other);
    expect(findings.isAny()).toBe(false);
    expect(findings.hasAcknowledged("ann")).toBe(false);
  });

  test("stays as it was found first, also when another instance looks later or at the same time", async () => {
    const key = newKey();
    const [first, second] = [await here.open(key), await elsewhere.open(key)];
    await first.add(new Map([["ann", ["phone"]]]));
    await second.add(
      new Map([
        ["ann", ["tablet"]],
        ["bob", ["tablet"]],
      ]),
    );
    await first.add(new Map([["bob", ["phone"]]]));
    for (const findings of [first, second, await here.open(key)]) {
      for (const user of ["ann", "bob"]) {
        const own = user === "ann" ? "phone" : "tablet";
        expect(["phone", "tablet"].filter((device) => findings.hasAcknowledged(user, device))).toEqual([own]);
      }
    }
  });

  test("of many at once is what one of them found, for each user", async () => {
    const key = newKey();
    const all = await Promise.all(Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? here : elsewhere).open(key)));
    const users = Array.from({ length: 20 }, (_, i) => `user ${i}`);
    await Promise.all(all.map((findings, i) => findings.add(new Map(users.map((user) => [user, [`device ${i}`]])))));
    const devices = all.map((_, i) => `device ${i}`);
    const kept = await here.open(key);
    const winners = new Set(users.map((user) => devices.filter((device) => kept.hasAcknowledged(user, device)).join()));
    expect(winners.size).toBe(1);
    expect(devices).toContain([...winners][0]);
  });

  test("is read whole, in however many parts it was added", async () => {
    const key = newKey();
    const found = await here.open(key);
    for (let i = 0; i < 9; i++) await found.add(new Map([[`user ${i}`, [`device ${i}`]]]));
    const large = new Map(Array.from({ length: 500 }, (_, i) => [`large ${i}`, ["x".repeat(256), `device ${i}`]]));
    await found.add(large);
    const findings = await elsewhere.open(key);
    for (let i = 0; i < 9; i++) expect(findings.hasAcknowledged(`user ${i}`, `device ${i}`)).toBe(true);
    for (const [user, [, device = ""]] of large) expect(findings.hasAcknowledged(user, device)).toBe(true);
  });

  test("has 32 devices of a user at most, so that a record of 500 users fits into a message", async () => {
    const key = newKey();
    const devices = Array.from({ length: 10_000 }, (_, i) => `device ${i}`);
    await (await here.open(key)).add(new Map(Array.from({ length: 500 }, (_, i) => [`user ${i}`, devices])));
    const findings = await here.open(key);
    expect(devices.filter((device) => findings.hasAcknowledged("user 7", device))).toHaveLength(32);
  });
});

test("a recall is recorded once, with its first moment and what replaced it first", async () => {
  const key = newKey();
  expect(await here.recalledAt(key)).toBeUndefined();
  const startedMs = Date.now();
  const first = await here.mark(key, "newer");
  expect(first).toEqual({ atMs: expect.any(Number), replacedBy: "newer" });
  expect(first.atMs).toBeGreaterThanOrEqual(startedMs);
  expect(await elsewhere.mark(key)).toEqual(first);
  expect(await elsewhere.find(key)).toEqual(first);
  expect(await elsewhere.recalledAt(key)).toBe(first.atMs);
  expect((await elsewhere.open(key)).isAny()).toBe(false);
});

test.each([0, 1, 499, 500, 501, 1_001])("chunks of %i recipients are all of them, at most 500 each", (count) => {
  const recipients = Array.from({ length: count }, (_, i) => `user ${i}`);
  const chunks = [...chunksOf(recipients)];
  expect(chunks.flat()).toEqual(recipients);
  for (const chunk of chunks) expect(chunk.length).toBeLessThanOrEqual(500);
  expect(chunks).toHaveLength(Math.ceil(count / 500));
});
