/** A call as the documents show it. */
export interface Example {
  readonly request: object;
  readonly answer?: object;
}

const ok = (data?: object) => ({ errCode: 0, errMsg: "", errDlt: "", ...(data === undefined ? {} : { data }) });

/** Calls by their path: test/openapi/openapi.test.ts holds them to the schemas. */
export const examples: Readonly<Record<string, Example>> = {
  // The documented one, as it is documented.
  "/msg/send_business_notification": {
    request: {
      sendUserID: "openIMAdmin",
      recvUserID: "2839678182",
      recvGroupID: "",
      key: "xxx",
      data: "xxxxxx",
      sendMsg: false,
      reliabilityLevel: 1,
    },
    answer: ok({
      serverMsgID: "8698dd5d163dd79b8fdfa333fee06f40",
      clientMsgID: "1ca0e4cf279ad5cce6b28331b2b42092",
      sendTime: 1679558586210,
    }),
  },
  "/msg/batch_send_business_notification": {
    request: {
      notifications: [
        { sendUserID: "imAdmin", recvUserID: "alice", key: "order.paid", data: '{"id":77}', reliabilityLevel: 2 },
        { sendUserID: "imAdmin", recvUserID: "bob", key: "order.paid", data: '{"id":78}', reliabilityLevel: 2 },
      ],
    },
  },
  "/msg/get_delivery_status": { request: { serverMsgID: "8698dd5d163dd79b8fdfa333fee06f40" } },
  "/msg/recall_business_notification": {
    request: { serverMsgID: "8698dd5d163dd79b8fdfa333fee06f40" },
    answer: ok({ withdrawn: 1, delivered: 0 }),
  },
  "/ack": { request: { deviceId: "phone", sequence: 42 }, answer: ok({ sequence: 42 }) },
  "/group/create_group": {
    request: {
      ownerUserID: "alice",
      memberUserIDs: ["bob"],
      groupInfo: { groupID: "crew", groupName: "Crew", groupType: 2 },
    },
  },
  "/group/invite_user_to_group": { request: { groupID: "crew", invitedUserIDs: ["carol"] }, answer: ok() },
  "/auth/get_user_token": { request: { userID: "alice", platformID: 5 } },
};
