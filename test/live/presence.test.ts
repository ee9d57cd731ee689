import { pino } from "pino";
import { afterAll, expect, test } from "vitest";
import { connectBroker } from "../../src/broker/connect.ts";
import { listen, whenListening } from "../../src/broker/signal.ts";
import { toPartition, toToken } from "../../src/broker/subjects.ts";
import { deadlineIn } from "../../src/deadline.ts";
import { liveFilter } from "../../src/live/layout.ts";
import { createFindPlatforms } from "../../src/live/presence.ts";
import { createLive } from "../../src/live/signals.ts";
import { useBroker } from "../helpers/broker.ts";

const server = useBroker();
const closing: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closing) await close();
});

const partitions = 4;
const silent = { onPush() {}, onHint() {}, onWake() {}, onMember() {}, onAck() {}, onSettled() {}, onSession() {} };

async function openInstance() {
  const { url, dial } = server;
  const log = pino({ level: "silent" });
  const broker = await connectBroker({ servers: [url], dial, requestTimeoutMs: 5_000, log });
  closing.push(() => broker.close());
  const live = createLive(broker, { partitions, timeoutMs: 5_000 });
  return {
    broker,
    findPlatforms: createFindPlatforms(broker, { partitions, timeoutMs: 5_000 }),
    async hold(userId: string, platforms: number[]) {
      live.subscribe(userId, { ...silent, platforms: () => platforms });
      await whenListening(broker, deadlineIn(5_000));
    },
  };
}

test("the platforms of all instances are found, each once, in the order of the users", async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  await one.hold("ann", [5, 1, 5]);
  await two.hold("ann", [2, 1]);
  await two.hold("bob.*", [0]);
  // A session that is just ending: the instance still listens.
  await two.hold("cem", []);
  for (const { findPlatforms } of [one, two]) {
    expect(await findPlatforms(["eve", "bob.*", "ann", "cem", "ann"])).toEqual([[], [0], [1, 2, 5], [], [1, 2, 5]]);
    expect(await findPlatforms([])).toEqual([]);
    expect(await findPlatforms(["eve"])).toEqual([[]]);
  }
});

test("an instance that does not answer counts as none, and does not hide what the others say", async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const user = toToken("dan");
  listen(two.broker, liveFilter(toPartition(user, partitions), user), () => {});
  await whenListening(two.broker, deadlineIn(5_000));
  await two.hold("fay", [3]);
  expect(await one.findPlatforms(["dan", "fay"])).toEqual([[], [3]]);
});
