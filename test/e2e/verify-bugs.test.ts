import { setMaxListeners } from "node:events";
import { readFileSync } from "node:fs";
import { beforeAll, expect, test } from "vitest";
import { startOwn } from "../../src/verify/own/start.ts";
import { verify } from "../../src/verify/verify.ts";

/** A bug as somebody may write one, and what it shows as. */
interface SeededBug {
  readonly name: string;
  readonly places: readonly { readonly file: string; readonly from: string; readonly to: string }[];
  /** Faults that it needs to show. Default: none. */
  readonly faults?: readonly string[];
  readonly shows: RegExp;
  readonly seconds?: number;
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
  },
  {
    name: "a cursor that jumps",
    places: [
      {
        file: "inbox/cursors.ts",
        from: "const now = further(user, known, { epoch, sequence });",
        to: "const now = further(user, known, { epoch, sequence: sequence + 3 });",
      },
    ],
    shows: /a session resumed after \d+, but the device had acknowledged \d+ at most/,
  },
  {
    name: "lost hints, and nobody who looks",
    places: [
      {
        file: "receiving/user.ts",
        from: "for (const { session } of this.sessions) session.hint(sequence);",
        to: "if (Math.random() < 0.5) for (const { session } of this.sessions) session.hint(sequence);",
      },
      { file: "receiving/session.ts", from: "    feed.reconcile();\n", to: "" },
      { file: "receiving/session.ts", from: "this.#feed?.reconcile();", to: "" },
    ],
    shows: /an open session said nothing of it/,
    seconds: 30,
  },
  {
    name: "a fan-out that forgets its place",
    places: [{ file: "sending/fan-out.ts", from: "members.slice(start, ", to: "members.slice(start + 1, " }],
    shows: /a notification that was accepted did not arrive/,
  },
  {
    name: "an id that is taken by anything",
    places: [{ file: "sending/send.ts", from: "first.fingerprint !== record.fingerprint || ", to: "" }],
    shows: /two bodies were accepted under one clientMsgID/,
  },
  {
    name: "a recall that leaves it where it is",
    places: [{ file: "recalling/recall.ts", from: "  await withdraw(deps, send, operationId);\n", to: "" }],
    shows: /a session that was opened after the recall got it/,
  },
  {
    name: "a page in the wrong order",
    places: [{ file: "receiving/feed/feed.ts", from: "? nothing : own;", to: "? nothing : own.toReversed();" }],
    shows: /sequence \d+ came after \d+/,
  },
];

beforeAll(() => {
  setMaxListeners(0);
});

const size = { roundSeconds: 60, writers: 25, users: 10, groups: 5, maxPauseMs: 300, patienceMs: 3_000 };

test.for(bugs)("$name is caught", { timeout: 400_000 }, async ({ places, faults = [], shows, seconds = 8 }) => {
  for (const { file, from } of places) {
    expect(readFileSync(new URL(`../../src/${file}`, import.meta.url), "utf8")).toContain(from);
  }
  const hook = new URL("../verify/seed-bug.ts", import.meta.url).href;
  process.env.SEEDED_BUGS = JSON.stringify(places);
  const deployment = await startOwn({ instances: 2, workers: 1, brokers: 1, nodeOptions: ["--import", hook] });
  try {
    const wanted = deployment.faults.filter(({ name }) => faults.includes(name));
    expect(wanted).toHaveLength(faults.length);
    const only = { ...deployment, faults: wanted };
    const say = (line: string) => void process.stdout.write(`verify: ${line}\n`);
    const { violations } = await verify({ ...size, deployment: only, seed: 1, seconds, say });
    expect(violations.join("\n\n")).toMatch(shows);
  } finally {
    await deployment.stop();
  }
});
