import { setMaxListeners } from "node:events";
import { readFileSync } from "node:fs";
import { beforeAll, expect, test, vi } from "vitest";
import { startOwn } from "../../src/verify/own/start.ts";
import { verify } from "../../src/verify/verify.ts";

/** A bug as somebody may write one, and what it shows as. */
interface SeededBug {
  readonly name: string;
  readonly places: readonly { readonly file: string; readonly from: string; readonly to: string }[];
  /** Faults that it needs to show. Default: none. */
  readonly faults?: readonly string[];
  readonly shows: RegExp;
  /** How long it may go on, in seconds, before devices read what there is: with most, it ends when the bug shows. */
  readonly seconds: number;
}

const bugs: readonly SeededBug[] = [
  {
    name: "an answer before the write",
    places: [
      {
        file: "sending/send.ts",
        from: "if (!isStored && !isRecalled) await (isLater ? deps.later(delivery) : deliver(deps, delivery));",
        to: "if (!isStored && !isRecalled) setTimeout(() => void deliver(deps, delivery), 2_000);",
      },
    ],
    faults: ["kill an instance"],
    shows: /a notification that was accepted did not arrive/,
    seconds: 8,
  },
  {
    name: "a cursor that jumps",
    places: [
      {
        file: "cursors/cursors.ts",
        from: "const now = further(user, known, { epoch, sequence });",
        to: "const now = further(user, known, { epoch, sequence: sequence + 3 });",
      },
    ],
    shows: /a session resumed after \d+, but the device had acknowledged \d+ at most/,
    seconds: 60,
  },
  {
    name: "lost hints, and nobody who looks",
    places: [
      {
        file: "receiving/user.ts",
        from: "for (const { session } of this.sessions) session.hint(sequence);",
        to: "if (Math.random() < 0.005) for (const { session } of this.sessions) session.hint(sequence);",
      },
      { file: "receiving/session.ts", from: "    feed.reconcile();\n", to: "" },
      { file: "receiving/session.ts", from: "this.#feed?.reconcile();", to: "" },
    ],
    shows: /an open session said nothing for/,
    seconds: 60,
  },
  {
    name: "a fan-out that forgets its place",
    places: [{ file: "sending/fan-out.ts", from: "members.slice(start, ", to: "members.slice(start + 1, " }],
    shows: /a notification that was accepted did not arrive/,
    seconds: 5,
  },
  {
    name: "an id that is taken by anything",
    places: [{ file: "sending/send.ts", from: "first.fingerprint !== record.fingerprint || ", to: "" }],
    shows: /two bodies were accepted under one clientMsgID/,
    seconds: 60,
  },
  {
    name: "a recall that leaves it where it is",
    places: [{ file: "recalling/recall.ts", from: "  await withdraw(deps, send, operationId);\n", to: "" }],
    shows: /a session that was opened after the recall got it/,
    seconds: 60,
  },
  {
    name: "a page in the wrong order",
    places: [{ file: "receiving/feed/feed.ts", from: "? nothing : own;", to: "? nothing : own.toReversed();" }],
    shows: /sequence \d+ came after \d+/,
    seconds: 60,
  },
  {
    name: "what is for one device, and reaches all",
    places: [{ file: "addressing.ts", from: "return recvDeviceId === ", to: "return true || recvDeviceId === " }],
    shows: /what is not for the device \S+ arrived there/,
    seconds: 60,
  },
  {
    name: "what nobody has acknowledged, and is settled",
    places: [{ file: "cursors/device-cursors.ts", from: "sequence <= cursor.sequence &&", to: "true &&" }],
    shows: /it was settled, and no other device had acknowledged it/,
    seconds: 60,
  },
  {
    name: "a newer one that leaves the older",
    places: [
      {
        file: "collapsing/collapse.ts",
        from: "await withdraw({ record, recipients }, operationId, newest);",
        to: "void { record, recipients };",
      },
    ],
    shows: /it was replaced, and the device is not told|opened after it was replaced/,
    seconds: 10,
  },
  {
    name: "what is for later, at once",
    places: [{ file: "sending/send.ts", from: "(isLater ?", to: "(isLater && false ?" }],
    shows: /it came before its time/,
    seconds: 60,
  },
];

beforeAll(() => {
  setMaxListeners(0);
  vi.setConfig({ maxConcurrency: 3 });
});

/** Small, so that a machine with little to spare starts it soon, and busy enough to show each within seconds. */
const size = {
  roundSeconds: 60,
  writers: 12,
  users: 6,
  groups: 2,
  maxPauseMs: 150,
  patienceMs: 2_000,
  silenceMs: 5_000,
};

test.concurrent.for(bugs)("$name is caught", { timeout: 400_000 }, async ({ places, faults = [], shows, seconds }) => {
  for (const { file, from } of places) {
    expect(readFileSync(new URL(`../../src/${file}`, import.meta.url), "utf8")).toContain(from);
  }
  const hook = new URL("../verify/seed-bug.ts", import.meta.url);
  hook.searchParams.set("places", JSON.stringify(places));
  const nodeOptions = ["--import", hook.href];
  const deployment = await startOwn({ instances: 1, workers: 1, brokers: 1, nodeOptions });
  try {
    const wanted = deployment.faults.filter(({ name }) => faults.includes(name));
    expect(wanted).toHaveLength(faults.length);
    const only = { ...deployment, faults: wanted };
    const say = (line: string) => void process.stdout.write(`verify: ${line}\n`);
    const endsWith = ({ what }: { readonly what: string }) => shows.test(what);
    const { violations } = await verify({ ...size, deployment: only, seed: 1, seconds, endsWith, say });
    expect(violations.join("\n\n")).toMatch(shows);
  } finally {
    await deployment.stop();
  }
});
