import { describe, expect, test } from "vitest";
import { explain } from "../../../src/verify/check/explain.ts";
import type { History } from "../../../src/verify/check/history.ts";
import { inspect } from "../../../src/verify/check/inspect.ts";
import { call, got, historyOf, send, session, teamOf, toGroup } from "./histories.ts";

const recalled = send("a", { recalls: [call(30, 40)] });
const early = send("early", { attempts: [call(10, 20)] });
const late = send("late", { attempts: [call(30, 40)] });

describe("the inspection finds", () => {
  test.each<[what: string, history: History, found: RegExp]>([
    ["a loss", historyOf([send("a")], []), /did not arrive/],
    [
      "a loss after a repeat",
      historyOf([send("a", { attempts: [call(5, 8, "unknown"), call(10, 20)] })], []),
      /did not arrive/,
    ],
    ["a loss of a member", historyOf([send("a", toGroup)], [], teamOf(true, [false, 30, 40])), /did not arrive/],
    ["a loss of a new member", historyOf([send("a", toGroup)], [], teamOf(false, [true, 2, 5])), /did not arrive/],
    ["a second copy", historyOf([send("a")], [session([got(1, "a"), got(2, "a")])]), /sequences 1 and 2/],
    [
      "a place taken twice",
      historyOf([send("a"), send("b")], [session([got(1, "a")]), session([got(1, "b")])]),
      /is a notification b and/,
    ],
    ["a sequence twice", historyOf([send("a")], [session([got(1, "a"), got(1, "a")])]), /1 came after 1/],
    ["a step back", historyOf([send("a"), send("b")], [session([got(2, "a"), got(1, "b")])]), /1 came after 2/],
    [
      "a repetition of what is on record",
      historyOf([send("a")], [session([got(1, "a")]), session([got(1, "a")], { afterSequence: 1, resumeSequence: 1 })]),
      /1 came after 1/,
    ],
    [
      "the wrong order",
      historyOf([early, late], [session([got(1, "late"), got(2, "early")])]),
      /before what was answered/,
    ],
    [
      "the wrong order of a group",
      historyOf(
        [
          { ...early, ...toGroup },
          { ...late, ...toGroup },
        ],
        [session([got(1, "late"), got(2, "early")])],
        teamOf(true),
      ),
      /before what was answered/,
    ],
    ["what nobody sent", historyOf([], [session([got(1, "a")])]), /nobody sent/],
    [
      "what was refused",
      historyOf([send("a", { attempts: [call(5, 8, "unknown"), call(10, 20, "refused")] })], [session([got(1, "a")])]),
      /refused arrived/,
    ],
    ["another user's", historyOf([send("a", { recvUserId: "ben" })], [session([got(1, "a")])]), /sent to ben/],
    [
      "another level",
      historyOf([send("a", { level: 1 })], [session([got(1, "a")])]),
      /level 1, it arrived as a notification/,
    ],
    [
      "a loss of a chat copy",
      historyOf([send("a", { sendMsg: true })], [session([got(1, "a")])]),
      /a message that was/,
    ],
    [
      "a chat copy for nothing",
      historyOf([send("a")], [session([got(1, "a"), got(2, "a", "message")])]),
      /as a message/,
    ],
    [
      "what was sent before joining",
      historyOf([send("a", toGroup)], [session([got(1, "a")])], teamOf(false, [true, 30, 40])),
      /not a member/,
    ],
    [
      "what was sent after leaving",
      historyOf([send("a", toGroup)], [session([got(1, "a")])], teamOf(true, [false, 1, 5])),
      /not a member/,
    ],
    [
      "a push long after leaving",
      historyOf(
        [send("a", { ...toGroup, level: 1, attempts: [call(9_000, 9_001)] })],
        [session([got(0, "a", "push")])],
        teamOf(true, [false, 1, 5]),
      ),
      /not a member/,
    ],
    [
      "a push twice",
      historyOf([send("a", { level: 1 })], [session([got(0, "a", "push"), got(0, "a", "push")])]),
      /push arrived twice/,
    ],
    [
      "a push with a sequence",
      historyOf([send("a", { level: 1 })], [session([got(7, "a", "push")])]),
      /had the sequence 7/,
    ],
    [
      "what was recalled",
      historyOf([recalled], [session([got(1, "a"), got(2, "a", "recall")], { openedAt: 50 })]),
      /after the recall got it/,
    ],
    ["a recall that is not told", historyOf([recalled], [session([got(1, "a")])]), /not told of the recall/],
    ["a recall of nobody", historyOf([send("a")], [session([got(1, "a"), got(2, "a", "recall")])]), /nobody asked for/],
    [
      "a gap",
      historyOf([], [session([{ at: 1, kind: "gap", sequence: 3, from: 1, reason: 1 }])]),
      /gap: 1 to 3|gap from 1/,
    ],
    [
      "a refusal, and nothing of its order",
      historyOf(
        [send("a")],
        [session([got(1, "a"), { at: 51, kind: "other", sequence: 0, about: "it refused the acknowledgement of 1" }])],
      ),
      /refused the acknowledgement/,
    ],
    ["a cursor too far", historyOf([], [session([], { resumeSequence: 5, toldBefore: 4 })]), /resumed after 5/],
    [
      "a record that is not heeded",
      historyOf([], [session([], { afterSequence: 5, resumeSequence: 4 })]),
      /after 5 resumed after 4/,
    ],
    [
      "two bodies of one id",
      historyOf(
        [send("a", { clientMsgId: "x" }), send("b", { clientMsgId: "x" })],
        [session([got(1, "a"), got(2, "b")])],
      ),
      /two bodies/,
    ],
    [
      "two ids of one body",
      historyOf(
        [send("a", { attempts: [call(10, 20), call(21, 22, "accepted", { serverMsgId: "other" })] })],
        [session([got(1, "a")])],
      ),
      /several serverMsgIDs/,
    ],
    [
      "a failure",
      historyOf([send("a", { attempts: [call(10, 20, "unknown", { errCode: 500 })] })], []),
      /answered with 500/,
    ],
  ])("%s", (_, history, found) => {
    const findings = inspect(history);
    expect(findings.map(({ what }) => what)).toEqual([expect.stringMatching(found)]);
    for (const finding of findings) expect(explain(history, finding)).toMatch(found);
  });

  test.each<[what: string, history: History]>([
    [
      "what is not known and arrives",
      historyOf([send("a", { attempts: [call(10, 20, "unknown")] })], [session([got(1, "a")])]),
    ],
    ["what is not known and does not", historyOf([send("a", { attempts: [call(10, 20, "unknown")] })], [])],
    [
      "what a cursor that was not stored brings again",
      historyOf([send("a")], [session([got(1, "a")]), session([got(1, "a")], { toldBefore: 1 })]),
    ],
    [
      "a member who joined meanwhile, with it",
      historyOf([send("a", toGroup)], [session([got(1, "a")])], teamOf(false, [true, 5, 12])),
    ],
    ["a member who joined meanwhile, without it", historyOf([send("a", toGroup)], [], teamOf(false, [true, 5, 12]))],
    [
      "a member who was added again",
      historyOf([send("a", toGroup)], [session([got(1, "a")])], teamOf(true, [true, 12, 15])),
    ],
    ["who left and came back", historyOf([send("a", toGroup)], [], teamOf(true, [false, 5, 8], [true, 15, 18]))],
    ["who left before", historyOf([send("a", toGroup)], [], teamOf(true, [false, 5, 8]))],
    [
      "a push right after leaving",
      historyOf([send("a", { ...toGroup, level: 1 })], [session([got(0, "a", "push")])], teamOf(true, [false, 1, 5])),
    ],
    [
      "sends that overlap",
      historyOf([send("a"), send("b", { attempts: [call(15, 25)] })], [session([got(1, "b"), got(2, "a")])]),
    ],
    [
      "a send to a group, which is answered when it is queued",
      historyOf([{ ...early, ...toGroup }, late], [session([got(1, "late"), got(2, "early")])], teamOf(true)),
    ],
    ["a recall of what is there", historyOf([recalled], [session([got(1, "a"), got(2, "a", "recall")])])],
    ["a recall in time", historyOf([recalled], [])],
    ["a push that is lost", historyOf([send("a", { level: 1 })], [])],
  ])("nothing in %s", (_, history) => {
    expect(inspect(history)).toEqual([]);
  });
});
