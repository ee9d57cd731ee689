import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { TokenSecrets } from "../../src/auth/secret.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { createTickets } from "../../src/tickets/tickets.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const hour = 3_600_000;

function useTickets({ expiresInMs = hour } = {}) {
  const caller = {
    ...{ userId: "алиса", platformId: 5, isAdmin: false },
    ...{ issuedAtMs: Date.now(), expiresAtMs: Date.now() + expiresInMs },
  };
  const used = new Set<string>();
  const state = { secrets: { current: "a".repeat(32) } as TokenSecrets, revokedAtMs: undefined as number | undefined };
  const tickets = createTickets({
    secrets: () => state.secrets,
    revokedAtMs: () => state.revokedAtMs,
    use: async (id) => used.size < used.add(id).size,
  });
  const codeOf = (ticket: string) =>
    tickets.redeem(ticket).then(
      () => 0,
      (error: unknown) => toErrorFacts(error).errCode,
    );
  return { ...tickets, caller, state, codeOf, used };
}

test("a ticket is its caller's, once", async () => {
  const { issue, redeem, caller, codeOf } = useTickets();
  const { ticket, expireTimeSeconds } = issue(caller);
  expect(expireTimeSeconds).toBe(30);
  // It stands in a query as it is.
  expect(encodeURIComponent(ticket)).toBe(ticket);
  expect(await redeem(ticket)).toEqual(caller);
  expect(await codeOf(ticket)).toBe(1501);
  expect(await codeOf(issue(caller).ticket)).toBe(0);
});

test("a ticket is good for 30 s, and no longer than its token", async () => {
  const { issue, caller, codeOf } = useTickets();
  const { ticket } = issue(caller);
  vi.advanceTimersByTime(30_000);
  expect(await codeOf(ticket)).toBe(1501);
  const brief = useTickets({ expiresInMs: 1_000 });
  const last = brief.issue(brief.caller).ticket;
  vi.advanceTimersByTime(1_000);
  expect(await brief.codeOf(last)).toBe(1501);
});

test("a ticket is not good when its token was revoked, or the secret is another, and is not used up then", async () => {
  const { issue, caller, codeOf, state, used } = useTickets();
  const { ticket } = issue(caller);
  state.revokedAtMs = Date.now();
  expect(await codeOf(ticket)).toBe(1506);
  state.secrets = { current: "b".repeat(32) };
  expect(await codeOf(ticket)).toBe(1505);
  expect(used.size).toBe(0);
});

test.each([
  ["nothing", "", 1503],
  ["no signature", "e30", 1503],
  ["a token", "eyJhbGciOiJIUzI1NiJ9.e30.4Adcj3UFYzPUVaVF43FmMab6RlaQD8A9V8wFzzht-KQ", 1503],
  ["another signature", `e30.${"A".repeat(43)}`, 1505],
])("%s is no ticket", async (_, ticket, errCode) => {
  expect(await useTickets().codeOf(ticket)).toBe(errCode);
});

test("what a ticket says cannot be changed", async () => {
  const { issue, caller, codeOf } = useTickets();
  const [text = "", signature] = issue(caller).ticket.split(".");
  const changed = { ...JSON.parse(Buffer.from(text, "base64url").toString()), userId: "bob" };
  expect(await codeOf(`${Buffer.from(JSON.stringify(changed)).toString("base64url")}.${signature}`)).toBe(1505);
});
