import { beforeEach, describe, expect, test, vi } from "vitest";
import { createQuota, type QuotaOptions } from "../../src/admission/quota.ts";
import { retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: 1_700_000_000_000 });
  return () => void vi.useRealTimers();
});

/** Takes, and returns what it is refused with: the time to wait, and whose quota it is. */
function open(options: Partial<QuotaOptions>) {
  const quota = createQuota({ quotaCaller: 0, quotaRecipient: 0, ...options });
  return (callerId: string, ...recipients: string[]) => {
    try {
      quota?.take({ callerId, recipients: recipients.map((recipient) => recipient.split(" ")) });
      return undefined;
    } catch (error) {
      expect(toErrorFacts(error)).toMatchObject({ errCode: 429, errMsg: "TooManyRequestsError" });
      return retryAfterMsOf(error);
    }
  };
}

const times = (count: number, recipient = "u:a") => Array.from({ length: count }, () => recipient);

test("there are none unless they are set", () => {
  expect(createQuota({ quotaCaller: 0, quotaRecipient: 0 })).toBeUndefined();
});

describe("a caller", () => {
  test("may send its quota at once, then one more in its time, whoever receives them", () => {
    const take = open({ quotaCaller: 60 });
    for (let i = 0; i < 60; i++) expect(take("a", `u:${i}`)).toBeUndefined();
    expect(take("a", "u:x")).toBe(1_000);
    expect(take("b", "u:x")).toBeUndefined();
    vi.advanceTimersByTime(1_000);
    expect(take("a", "u:x")).toBeUndefined();
    expect(take("a", "u:x")).toBe(1_000);
  });

  test("is counted each of a batch, or none; and a batch of more than a minute's passes, and is paid off", () => {
    const take = open({ quotaCaller: 60 });
    expect(take("a", ...times(40))).toBeUndefined();
    expect(take("a", ...times(40))).toBe(20_000);
    expect(take("a", ...times(20))).toBeUndefined();
    vi.advanceTimersByTime(60_000);
    expect(take("a", ...times(120))).toBeUndefined();
    vi.advanceTimersByTime(60_000);
    expect(take("a", "u:a")).toBe(1_000);
  });
});

describe("a recipient", () => {
  test("has one quota for all senders; a group is one, and no user of its name", () => {
    const take = open({ quotaRecipient: 2 });
    expect(take("a", "u:x")).toBeUndefined();
    expect(take("b", "u:x")).toBeUndefined();
    expect(take("c", "u:x")).toBe(30_000);
    expect(take("c", "g:x")).toBeUndefined();
    expect(take("c", "u:y")).toBeUndefined();
  });

  test("who has had enough has all of a list or a batch refused, and nothing of it is counted", () => {
    const take = open({ quotaCaller: 10, quotaRecipient: 2 });
    expect(take("a", "u:x", "u:x")).toBeUndefined();
    expect(take("a", "u:x u:y")).toBe(30_000);
    for (let i = 0; i < 20; i++) expect(take("a", "u:y", "u:x")).toBe(30_000);
    expect(take("a", "u:y", "u:y", ...times(6, "g:z").slice(0, 2))).toBeUndefined();
    expect(take("a", ...["b", "c", "d", "e"].map((name) => `u:${name}`))).toBeUndefined();
    expect(take("a", "u:f")).toBe(6_000);
  });
});
