import { describe, expect, test } from "vitest";
import { explain } from "../../../src/verify/check/explain.ts";
import type { DeviceHistory, History, SessionEvent } from "../../../src/verify/check/history.ts";
import { inspect } from "../../../src/verify/check/inspect.ts";
import { inspectLateness } from "../../../src/verify/check/lateness.ts";
import { call, device, got, historyOf, send, session, teamOf, toGroup } from "./histories.ts";

const toList = { recvUserId: "", recvUserIds: ["ann", "ben"] } as const;

/** An order that comes first, and what is sent about it later. */
const first = send("first", { collapseKey: "order" });
const second = send("second", { collapseKey: "order", attempts: [call(30, 40)] });

const forOne = send("a", { isSettledByOne: true });

function settled(sequence: number, data: string, wasSent = false, at = 50): SessionEvent {
  return { at, kind: "settled", sequence, data, wasSent };
}

/** Another device of ann's, that has acknowledged the sequence 1. */
function settler(at: number, until = at + 1, more: Partial<DeviceHistory> = {}): DeviceHistory {
  const acknowledged = [{ sequence: 1, at, until }];
  const sessions = more.sessions ?? [session([{ ...got(1, "a"), at: 21 }])];
  return device(sessions, { deviceId: "tablet", acknowledged, ...more });
}

/** What is worth delivering for a second: from 10 to 1,020 at least. */
const brief = send("a", { ttlSeconds: 1 });

function gap(from: number, to: number, at: number, reason = 2): SessionEvent {
  return { at, kind: "gap", from, sequence: to, reason };
}

const batch = (index: number) => ({ attempts: [call(10, 20, "accepted", { batch: { name: "b", index } })] });

const openim = (events: readonly SessionEvent[]) => device([session(events)], { deviceId: "Web", kind: "openim" });
const native = (events: readonly SessionEvent[]) =>
  device([session(events)], { deviceId: "at-broker", kind: "native" });

const recalled = send("a", { recalls: [call(30, 40)] });
/** Of a consumer that was begun after that. */
const opened = (events: readonly SessionEvent[]) =>
  historyOf([recalled], [], undefined, [
    device([session(events, { openedAt: 45 })], { deviceId: "at-broker", kind: "native" }),
  ]);

const withMark = (history: History, mark: History["marks"][number]): History => ({ ...history, marks: [mark] });

const phone = (...events: SessionEvent[]) => [session(events)];

describe("the inspection finds", () => {
  test.each<[what: string, history: History, found: RegExp]>([
    ["a loss of one on a list", historyOf([send("a", toList)], []), /did not arrive/],
    [
      "a list's at another",
      historyOf([send("a", { ...toList, recvUserIds: ["ben", "eva"] })], phone(got(1, "a"))),
      /sent to ben, eva/,
    ],
    [
      "the wrong order of a list",
      historyOf(
        [send("early", toList), send("late", { ...toList, attempts: [call(30, 40)] })],
        phone(got(1, "late"), got(2, "early")),
      ),
      /before what was answered/,
    ],
    [
      "the wrong order of a batch",
      historyOf([send("a", batch(0)), send("b", batch(1))], phone(got(1, "b"), got(2, "a"))),
      /before what is before it in a batch/,
    ],
    ["another device's", historyOf([send("a", { recvDeviceId: "tablet" })], phone(got(1, "a"))), /not for the device/],
    [
      "a push to another device",
      historyOf([send("a", { recvDeviceId: "tablet", level: 1 })], phone(got(0, "a", "push"))),
      /not for the device/,
    ],
    ["what is for all but it", historyOf([send("a", { exceptDeviceId: "phone" })], phone(got(1, "a"))), /not for the/],
    ["a loss of what is for it", historyOf([send("a", { recvDeviceId: "phone" })], []), /did not arrive/],
    ["a loss of what is not for another", historyOf([send("a", { exceptDeviceId: "tablet" })], []), /did not arrive/],

    [
      "a loss of the newest",
      historyOf([first, second], phone(got(1, "first"), got(3, "first", "recall"))),
      /did not arrive/,
    ],
    ["an older one that is left", historyOf([first, second], phone(got(1, "first"), got(2, "second"))), /is not told/],
    [
      "an older one of a group that is left",
      historyOf(
        [
          { ...first, ...toGroup },
          { ...second, ...toGroup },
        ],
        phone(got(1, "first"), got(2, "second")),
        teamOf(true),
      ),
      /is not told/,
    ],
    [
      "an older one that comes later",
      historyOf(
        [first, second],
        [session([got(1, "first"), got(2, "second"), got(3, "first", "recall")], { openedAt: 45 })],
      ),
      /opened after it was replaced/,
    ],
    [
      "that the newest is replaced",
      historyOf([first, second], phone(got(2, "second"), got(3, "second", "recall"))),
      /nobody asked for/,
    ],

    [
      "what is settled for each device",
      historyOf([send("a")], phone(settled(1, "a")), undefined, [settler(30)]),
      /each device was to get it/,
    ],
    ["what nobody has acknowledged", historyOf([forOne], phone(settled(1, "a"))), /no other device/],
    [
      "what is acknowledged later",
      historyOf([forOne], phone(settled(1, "a")), undefined, [settler(60)]),
      /no other device/,
    ],
    [
      "what only a device has acknowledged that it is not for",
      historyOf([send("a", { isSettledByOne: true, exceptDeviceId: "tablet" })], phone(settled(1, "a")), undefined, [
        settler(30, 31, { sessions: [] }),
      ]),
      /no other device/,
    ],
    [
      "what is acknowledged at the broker only",
      historyOf([forOne], phone(settled(1, "a")), undefined, [settler(30, 31, { kind: "native" })]),
      /no other device/,
    ],
    [
      "what is withdrawn and had not come",
      historyOf([forOne], phone(settled(1, "a", true)), undefined, [settler(30)]),
      /had not come in this session/,
    ],
    [
      "what is settled and comes",
      historyOf([forOne], [session([{ ...got(1, "a"), at: 9_100 }], { openedAt: 9_000 })], undefined, [settler(30)]),
      /after another device had acknowledged it/,
    ],
    [
      "what is settled in two places",
      historyOf([forOne], phone(settled(2, "a")), undefined, [
        device([session([got(1, "a")])], { deviceId: "tablet", acknowledged: [{ sequence: 2, at: 30, until: 31 }] }),
      ]),
      /sequences 2 and 1/,
    ],

    ["what comes before its time", historyOf([send("a", { dueAt: 5_000 })], phone(got(1, "a"))), /before its time/],
    ["a loss of what was for later", historyOf([send("a", { dueAt: 5_000 })], []), /did not arrive/],
    [
      "what has expired and comes",
      historyOf([brief], [session([{ ...got(1, "a"), at: 2_000 }], { openedAt: 1_900 })]),
      /after it had expired/,
    ],
    ["what has expired and is not told", historyOf([brief], []), /is not told/],
    ["what has expired and is told too early", historyOf([brief], phone(gap(1, 1, 50))), /is not told/],
    [
      "a gap that has more than what has expired",
      historyOf([brief, send("b")], [...phone(gap(1, 2, 2_000)), session([got(2, "b")])]),
      /what had not expired/,
    ],
    ["a gap of another reason", historyOf([brief], phone(gap(1, 1, 2_000, 1), gap(2, 2, 2_001))), /reason 1/],

    ["a loss of OpenIM's SDKs", historyOf([send("a")], phone(got(1, "a")), undefined, [openim([])]), /did not arrive/],
    ["a loss at the broker", historyOf([send("a")], phone(got(1, "a")), undefined, [native([])]), /did not arrive/],
    [
      "a loss at the broker of what is for another device",
      historyOf([send("a", { recvDeviceId: "phone" })], phone(got(1, "a")), undefined, [native([])]),
      /did not arrive/,
    ],
    [
      "what was recalled at the broker, though its nodes had been apart before",
      withMark(opened([got(1, "a"), got(2, "a", "recall")]), {
        at: 1,
        until: 39,
        what: "cut two nodes off from each other",
      }),
      /after the recall got it/,
    ],
    [
      "what was recalled at the broker, with another fault",
      withMark(opened([got(1, "a"), got(2, "a", "recall")]), { at: 35, until: 60, what: "kill an instance" }),
      /after the recall got it/,
    ],
    [
      "what was recalled, wherever the nodes are",
      withMark(historyOf([recalled], [session([got(1, "a"), got(2, "a", "recall")], { openedAt: 45 })]), {
        at: 35,
        until: 60,
        what: "cut two nodes off from each other",
      }),
      /after the recall got it/,
    ],
    [
      "a recall that is not told at the broker",
      historyOf([send("a", { recalls: [call(60, 70)] })], [], undefined, [native([got(1, "a")])]),
      /not told of the recall/,
    ],
  ])("%s", (_, history, found) => {
    const findings = inspect(history);
    expect(findings.map(({ what }) => what)).toEqual([expect.stringMatching(found)]);
    for (const finding of findings) expect(explain(history, finding)).toMatch(found);
  });

  test.each<[what: string, history: History]>([
    [
      "what was recalled, of a node that the others were cut off from",
      withMark(opened([got(1, "a"), got(2, "a", "recall")]), {
        at: 35,
        until: 45,
        what: "cut two nodes off from each other",
      }),
    ],
    ["one of a list", historyOf([send("a", toList)], phone(got(1, "a")))],
    [
      "lists that overlap, which are answered when they are queued",
      historyOf(
        [send("early", toList), send("late", { attempts: [call(30, 40)] })],
        phone(got(1, "late"), got(2, "early")),
      ),
    ],
    [
      "a batch, of which one was sent again",
      historyOf(
        [send("a", { attempts: [call(10, 20, "unknown"), call(21, 30)] }), send("b", batch(1))],
        phone(got(1, "b"), got(2, "a")),
      ),
    ],
    ["what is for another device", historyOf([send("a", { recvDeviceId: "tablet" })], [])],
    ["what is for all but it", historyOf([send("a", { exceptDeviceId: "phone" })], [])],

    [
      "an older one whose replacement was recalled before it took its place",
      historyOf(
        [first, { ...second, recalls: [call(41, 60)] }],
        phone(got(1, "first"), got(2, "second"), got(3, "second", "recall")),
      ),
    ],
    ["the newest alone", historyOf([first, second], phone(got(2, "second")))],
    [
      "the newest, and that it replaced one",
      historyOf([first, second], phone(got(1, "first"), got(2, "second"), got(3, "first", "recall"))),
    ],
    [
      "one of two at the same moment",
      historyOf([first, send("other", { collapseKey: "order" })], phone(got(1, "first"))),
    ],
    [
      "the second of two at the same moment",
      historyOf(
        [first, send("other", { collapseKey: "order" })],
        phone(got(1, "other"), got(2, "first"), got(3, "other", "recall")),
      ),
    ],
    ["two keys", historyOf([first, { ...second, collapseKey: "offer" }], phone(got(1, "first"), got(2, "second")))],
    [
      "what may have been replaced by what is not known",
      historyOf(
        [first, send("other", { collapseKey: "order", attempts: [call(30, 40, "unknown")] })],
        phone(got(1, "first"), got(2, "first", "recall")),
      ),
    ],
    [
      "what replaced one to an SDK of OpenIM, which is told of no recall",
      historyOf([first, second], phone(got(2, "second")), undefined, [openim([got(1, "first"), got(2, "second")])]),
    ],

    ["what is settled in its place", historyOf([forOne], phone(settled(1, "a")), undefined, [settler(30)])],
    [
      "what comes again whose acknowledgement was perhaps not stored, also after a later one was",
      {
        ...historyOf([forOne], [session([{ ...got(1, "a"), at: 9_100 }], { openedAt: 9_000 })], undefined, [
          settler(30, 31, {
            acknowledged: [
              { sequence: 1, at: 30, until: 31 },
              { sequence: 5, at: 2_000, until: 2_010 },
            ],
          }),
        ]),
        marks: [{ at: 500, until: 1_000, what: "kill a broker" }],
      },
    ],
    [
      "what is settled after it had come, and something else",
      historyOf([forOne, send("b")], phone(got(1, "a"), got(2, "b"), settled(1, "a", true)), undefined, [
        settler(30, 31, { sessions: [session([got(1, "a"), got(2, "b")])] }),
      ]),
    ],
    [
      "what an SDK of OpenIM has settled",
      historyOf([forOne], phone(settled(1, "a")), undefined, [openim([{ ...got(1, "a"), at: 30 }])]),
    ],
    [
      "what is settled before an SDK of OpenIM gets it",
      historyOf([forOne], phone(got(1, "a")), undefined, [openim([])]),
    ],
    [
      "what comes before the acknowledgement is stored",
      historyOf([forOne], [session([got(1, "a")], { openedAt: 40 })], undefined, [settler(30)]),
    ],
    [
      "what comes although it is acknowledged, when the acknowledgement was not answered",
      historyOf([forOne], [session([{ ...got(1, "a"), at: 9_100 }], { openedAt: 9_000 })], undefined, [
        settler(30, Number.POSITIVE_INFINITY),
      ]),
    ],
    [
      "what comes although it is acknowledged, when something broke before that was stored",
      {
        ...historyOf([forOne], [session([{ ...got(1, "a"), at: 9_100 }], { openedAt: 9_000 })], undefined, [
          settler(30),
        ]),
        marks: [{ at: 500, until: 600, what: "kill an instance" }],
      },
    ],
    [
      "what comes at the broker although it is settled",
      historyOf([forOne], phone(got(1, "a")), undefined, [
        settler(30),
        device([session([{ ...got(1, "a"), at: 9_100 }], { openedAt: 9_000 })], {
          deviceId: "at-broker",
          kind: "native",
        }),
      ]),
    ],

    ["what comes in time", historyOf([send("a", { dueAt: 5_000 })], phone({ ...got(1, "a"), at: 5_001 }))],
    ["what comes before it expires", historyOf([brief], phone(got(1, "a")))],
    [
      "what comes after it has expired in a session that had read it",
      historyOf([brief], phone({ ...got(1, "a"), at: 2_000 })),
    ],
    ["what has expired and is told", historyOf([brief, send("b")], phone(gap(1, 1, 2_000), got(2, "b")))],
    [
      "what has expired and comes at the broker",
      historyOf([brief], phone(gap(1, 1, 2_000)), undefined, [native([got(1, "a")])]),
    ],
    [
      "a consumer at the broker that begins after what was removed",
      historyOf([send("a"), send("b")], phone(got(1, "a"), got(3, "b")), undefined, [
        device([session([got(1, "a")]), session([got(3, "b")], { openedAt: 40, resumeSequence: 2, toldBefore: 1 })], {
          deviceId: "at-broker",
          kind: "native",
        }),
      ]),
    ],
    [
      "what an SDK of OpenIM is not told",
      historyOf([send("a", { sendMsg: true })], phone(got(1, "a"), got(2, "a", "message")), undefined, [
        openim([got(1, "a")]),
      ]),
    ],
  ])("nothing in %s", (_, history) => {
    expect(inspect(history)).toEqual([]);
  });
});

describe("an open session", () => {
  const lateIn = (history: History) => inspectLateness(history).map(({ what }) => what);
  const late = [expect.stringMatching(/said nothing for 15 s/)];
  const at = (ms: number) => phone({ ...got(1, "a"), at: ms });
  const tablet = (ms: number) => [device(at(ms), { deviceId: "tablet" })];

  test("brings what was sent to a user soon after the answer", () => {
    expect(lateIn(historyOf([send("a")], at(14_000)))).toEqual([]);
    expect(lateIn(historyOf([send("a")], at(16_000)))).toEqual(late);
    expect(lateIn(historyOf([send("a")], []))).toEqual([]);
  });

  test.each([
    ["a group", toGroup],
    ["a list", toList],
    ["a user for later", { dueAt: 5_000 }],
  ])("brings what was sent to %s soon after another device has it", (_, to) => {
    const history = (ms: number, others: DeviceHistory[] = []) =>
      historyOf([send("a", to)], at(ms), teamOf(true), others);
    expect(lateIn(history(60_000))).toEqual([]);
    expect(lateIn(history(34_000, tablet(20_000)))).toEqual([]);
    expect(lateIn(history(36_000, tablet(20_000)))).toEqual(late);
  });

  test("may take longer while it catches up, and not while it says nothing", () => {
    const early = Array.from({ length: 4 }, (_, n) => send(`early ${n}`));
    const catchingUp = (...at: number[]) =>
      historyOf(
        [...early, send("a")],
        phone(...at.map((ms, n) => ({ ...got(n + 1, `early ${n}`), at: ms })), { ...got(9, "a"), at: 50_000 }),
      );
    expect(lateIn(catchingUp(10_000, 20_000, 30_000, 40_000))).toEqual([]);
    expect(lateIn(catchingUp(10_000, 20_000, 21_000, 34_000))).toEqual(late);
    expect(lateIn(catchingUp(10_000, 20_000, 21_000, 36_500))).toEqual([...late, ...late]);
  });

  test("is not judged by what is not known yet, nor while something is broken", () => {
    expect(inspectLateness(historyOf([send("a")], phone()), 14_000)).toEqual([]);
    expect(inspectLateness(historyOf([send("a")], phone()), 16_000)).toHaveLength(1);
    const marks = [{ at: 1_000, until: 2_000, what: "kill a broker" }];
    expect(lateIn({ ...historyOf([send("a")], phone()), marks })).toEqual([]);
  });
});
