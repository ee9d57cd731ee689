import type { Send } from "../check/history.ts";
import type { Deployment } from "../deployment.ts";
import type { Random } from "../random.ts";

/** What sends are made of. */
export interface Ingredients {
  readonly userIds: readonly string[];
  readonly groupIds: readonly string[];
  /** The devices that a user may have. */
  readonly deviceIds: readonly string[];
  readonly random: Random;
  /** The clock of the history. */
  readonly now: () => number;
  /** Fields of a request that no send may have: see {@link Deployment.lacking}. */
  readonly lacking: ReadonlySet<string>;
}

/** How far ahead something is sent for later, in milliseconds. */
const [minLaterMs, maxLaterMs] = [1_000, 4_000];

/** What expires does so while it waits for some devices, and not for others. Unit: seconds. */
const [minTtlSeconds, maxTtlSeconds] = [1, 5];

/** What notifications replace each other about: few, so that they meet. */
const topics = ["order", "offer", "weather"] as const;

const toNobody = { recvUserId: "", recvGroupId: "", recvUserIds: [], recvDeviceId: "", exceptDeviceId: "" } as const;
const plain = { isSettledByOne: false, collapseKey: "", ttlSeconds: 0, sendAt: 0, dueAt: 0, sendMsg: false } as const;

/** Composes a send that nobody has made yet, to a user, a group or a list, and now and then with a wish. */
export function compose(data: string, ingredients: Ingredients): Send {
  const { random, userIds, groupIds, lacking } = ingredients;
  const level = random.chance(0.75) ? 2 : 1;
  const kind = random();
  const to =
    kind < 0.45
      ? { recvUserId: random.pick(userIds) }
      : kind < 0.85 || lacking.has("recvUserIds")
        ? { recvGroupId: random.pick(groupIds) }
        : { recvUserIds: pickSome(userIds, random) };
  const wished = wish(ingredients, level, "recvUserId" in to, "recvUserIds" in to);
  return {
    data,
    clientMsgId: random.chance(0.6) ? `id of ${data}` : "",
    level,
    ...toNobody,
    ...to,
    ...plain,
    ...(isLacking(wished, lacking) ? {} : wished),
    attempts: [],
    recalls: [],
  };
}

/** One wish at most: what each means is promised for itself. */
function wish(
  { random, deviceIds, now }: Ingredients,
  level: 1 | 2,
  isToUser: boolean,
  isToList: boolean,
): Partial<Send> {
  const choice = random();
  if (choice < 0.15) return isToList ? {} : { sendMsg: true };
  if (choice < 0.25 && isToUser) {
    return random.chance(0.5) ? { recvDeviceId: random.pick(deviceIds) } : { exceptDeviceId: random.pick(deviceIds) };
  }
  if (level === 1) return {};
  if (choice < 0.4) return { isSettledByOne: true };
  if (choice < 0.5) return isToList ? {} : { collapseKey: random.pick(topics) };
  if (choice < 0.56) {
    const later = random.between(minLaterMs, maxLaterMs);
    return { sendAt: Date.now() + later, dueAt: now() + later };
  }
  if (choice < 0.64) return { ttlSeconds: random.between(minTtlSeconds, maxTtlSeconds) };
  return {};
}

/** Whether a wish needs a field that is not there. */
function isLacking(wished: Partial<Send>, lacking: ReadonlySet<string>): boolean {
  return Object.keys(wished).some((name) => lacking.has(name === "isSettledByOne" ? "ackScope" : name));
}

/** Two or more, each at most once. */
function pickSome(from: readonly string[], random: Random): string[] {
  const some = from.filter(() => random.chance(0.3));
  return some.length > 1 ? some : from.slice(0, 2);
}
