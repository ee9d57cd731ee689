import { setTimeout as delay } from "node:timers/promises";
import { acceptance, type Send } from "../check/history.ts";
import { compose, type Ingredients } from "./compose.ts";
import { attempt, recallUntilAnswered, type Sender, sendTogether, sendUntilAnswered } from "./send.ts";

/** Options of {@link runWriter}. */
export interface WriterOptions extends Sender, Ingredients {
  /** What was sent, by its `data`: of all writers. */
  readonly sends: Map<string, Send>;
  /** The longest pause between two of its calls, in milliseconds. */
  readonly maxPauseMs: number;
}

/** The newest that are repeated, recalled, or whose ids are taken for something else. */
const maxRecent = 200;

/** The most that are sent in one call. */
const maxTogether = 12;

/** Sends, repeats, is refused and recalls, one after the other, until `signal` is aborted. */
export async function runWriter(options: WriterOptions, signal: AbortSignal): Promise<void> {
  const { deployment, name, random, userIds, groupIds, sends, maxPauseMs } = options;

  const create = (change: Partial<Send> = {}): Send => {
    const data = `${name}/${sends.size}`;
    const send = { ...compose(data, options), ...change };
    sends.set(data, send);
    return send;
  };

  /** Some to the same recipient, so that their order is told, and some to others. */
  const createSome = (): Send[] => {
    const to = random.chance(0.5)
      ? { recvUserId: random.pick(userIds), recvGroupId: "" }
      : { recvUserId: "", recvGroupId: random.pick(groupIds) };
    const same = { ...to, recvUserIds: [], recvDeviceId: "", exceptDeviceId: "" };
    return Array.from({ length: random.between(2, maxTogether) }, () => create(random.chance(0.7) ? same : {}));
  };

  const pickSent = (is: (send: Send) => boolean): Send | undefined => {
    const recent = [...sends.values()].slice(-maxRecent).filter(is);
    return recent.length === 0 ? undefined : random.pick(recent);
  };

  while (!signal.aborted) {
    await delay(random.between(Math.min(20, maxPauseMs), maxPauseMs));
    const choice = random();
    if (choice < 0.08) {
      const sent = pickSent(({ clientMsgId, attempts }) => clientMsgId !== "" && attempts.length > 0);
      if (sent !== undefined) await sendUntilAnswered(options, sent);
    } else if (choice < 0.12) {
      const other = pickSent(({ clientMsgId }) => clientMsgId !== "");
      if (other !== undefined) await sendUntilAnswered(options, create({ clientMsgId: other.clientMsgId }));
    } else if (choice < 0.15) {
      const toNone = { recvUserId: "", recvUserIds: [], recvGroupId: "no such group" };
      await sendUntilAnswered(options, create({ ...toNone, recvDeviceId: "", exceptDeviceId: "" }));
    } else if (choice < 0.18) {
      const send = create({ clientMsgId: `id of ${name}/${sends.size}` });
      await Promise.all(deployment.instances.map((instance) => attempt(options, send, instance)));
    } else if (choice < 0.24) {
      const sent = pickSent((send) => send.level === 2 && acceptance(send) !== undefined);
      if (sent !== undefined) await recallUntilAnswered(options, sent);
    } else if (choice < 0.3) {
      await sendTogether(options, `${name}/${sends.size}`, createSome());
    } else {
      await sendUntilAnswered(options, create());
    }
  }
}
