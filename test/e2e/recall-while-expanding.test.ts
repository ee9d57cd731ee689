import { expect, test } from "vitest";
import { useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s" });
const openDevice = useDevices();

test("who connects after the reply to a recall does not get it, although the send was being expanded", async () => {
  const admin = await server.adminToken();
  const members = Array.from({ length: 4_000 }, (_, i) => `member-${i}`);
  const group = { ownerUserID: "owner", memberUserIDs: members, groupInfo: { groupID: "crowd", groupType: 2 } };
  expect((await server.post("/group/create_group", group, admin)).json.errCode).toBe(0);
  const got: string[] = [];
  for (let round = 0; round < 3; round++) {
    const body = {
      sendUserID: "imAdmin",
      recvGroupID: "crowd",
      key: "k",
      data: `round ${round}`,
      reliabilityLevel: 2,
    };
    const sent = await server.post("/msg/send_business_notification", body, admin);
    const serverMsgID = sent.json.data?.serverMsgID;
    const { json } = await server.post("/msg/recall_business_notification", { serverMsgID }, admin);
    expect(json.errCode).toBe(0);
    for (const member of [members[0], members[1_999], members[3_999]]) {
      const token = await server.userToken(member ?? "");
      const session = await openDevice(server.url, token, `device ${round}`).subscribe();
      for (let event = await session.next(); event?.case !== "heartbeat"; event = await session.next()) {
        if (event?.case === "notification") got.push(event.value.data);
      }
    }
  }
  expect(got).toEqual([]);
});
