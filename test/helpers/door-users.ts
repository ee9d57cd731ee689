import { expect } from "vitest";
import type { Arrival, Door, DoorDevice, DoorEnd, DoorSession } from "./door.ts";
import type { TestServer } from "./server.ts";

let users = 0;

/** Users of a service, and what an admin asks of it. */
export function createDoorUsers(service: () => TestServer) {
  /** Asks as an admin; resolves to the answer's data. */
  const ask = async (path: string, body: object): Promise<Record<string, unknown>> => {
    const { json } = await service().post(path, body, await service().adminToken());
    expect(json).toMatchObject({ errCode: 0 });
    return json.data ?? {};
  };

  /** A user, and what is sent to them. */
  const newUser = () => {
    const userId = `user-${++users}`;
    const toBody = (data: string, level: 1 | 2 = 2) => ({
      ...{ sendUserID: "imAdmin", recvUserID: userId, key: "test", data, reliabilityLevel: level },
    });
    /** A device of the user; each platform is another one to the doors that know no names. */
    const device = async (deviceId: string, platformId: number): Promise<DoorDevice> => ({
      ...{ url: service().url, userId, deviceId, platformId, disk: new Map() },
      token: await service().userToken(userId, platformId),
    });
    return {
      userId,
      phone: () => device("phone", 5),
      tablet: () => device("tablet", 9),
      send: async (data: string, level: 1 | 2 = 2) =>
        String((await ask("/msg/send_business_notification", toBody(data, level))).serverMsgID),
      /** Sends what the first device to acknowledge it settles for the user. */
      sendForOne: async (data: string) =>
        String((await ask("/msg/send_business_notification", { ...toBody(data), ackScope: "USER" })).serverMsgID),
      sendAll: async (all: readonly string[]) => {
        const notifications = all.map((data) => toBody(data));
        await ask("/msg/batch_send_business_notification", { notifications });
      },
      /** Sends to a group in which the user is the only member. */
      async sendToGroup(data: string) {
        const groupID = `crew-${userId}`;
        const groupInfo = { groupID, groupType: 2, groupName: "crew" };
        await ask("/group/create_group", { ownerUserID: userId, memberUserIDs: [], groupInfo });
        await ask("/msg/send_business_notification", { ...toBody(data), recvUserID: "", recvGroupID: groupID });
      },
    };
  };

  return {
    ask,
    newUser,

    /** A device to which something is to happen, and others at its door: one of the same user and one of another. */
    async amongOthers(door: Door) {
      const [user, stranger] = [newUser(), newUser()];
      const device = await user.phone();
      const others = [await enter(door, await user.tablet()), await enter(door, await stranger.phone())];
      return {
        ...user,
        device,
        /** Each of the others gets the next, and no more. */
        async expectOthersGo() {
          for (const data of ["still", "there"]) {
            await user.send(data);
            await stranger.send(data);
            for (const other of others) expect(dataOf(await take(other, 1))).toEqual([data]);
          }
        },
      };
    },
  };
}

/** Opens a session that is to be let in. */
export async function enter(door: Door, device: DoorDevice): Promise<DoorSession> {
  const session = await door.open(device);
  if ("kind" in session) throw new Error(`it ended with ${session.how}`);
  return session;
}

/** The next notifications, each acknowledged unless they are not to be. What else comes is an error. */
export async function take(session: DoorSession, count: number, isAcknowledged = true): Promise<Arrival[]> {
  const taken: Arrival[] = [];
  while (taken.length < count) {
    const arrival = await session.next();
    if (arrival.kind !== "notification") throw new Error(`got ${JSON.stringify(arrival, text)}`);
    if (isAcknowledged && arrival.sequence > 0n) await session.acknowledge(arrival);
    taken.push(arrival);
  }
  return taken;
}

const text = (_: string, value: unknown) => (typeof value === "bigint" ? String(value) : value);

export const dataOf = (arrivals: readonly Arrival[]) => arrivals.map(({ data }) => data);

/** The end of a session that gets nothing more. */
export async function endOf(session: DoorSession | DoorEnd): Promise<string> {
  const end = "kind" in session ? session : await session.next();
  if (end.kind !== "end") throw new Error(`got ${end.kind}`);
  return end.how;
}
