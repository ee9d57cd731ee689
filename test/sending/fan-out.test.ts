import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { failure } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { expand } from "../../src/sending/fan-out.ts";
import { noCollapse } from "../helpers/tracking.ts";

const job = {
  items: [{ kind: "notification" as const, notification: create(NotificationSchema, { serverMsgId: "s1" }) }],
  groupId: "crew",
  groupVersion: 1,
  recvUserIds: [],
  operationId: "op",
};

/** An expansion of what was recalled, whose second recall ends with an error. */
function expandRecalled(error: unknown) {
  const written: string[] = [];
  const deps = {
    inbox: { writeMany: async (userIds: readonly string[]) => void written.push(...userIds) },
    recalls: { recalledAt: async () => 1 },
    membersAt: async () => ["alice", "bob"],
    collapsing: noCollapse,
    recallAgain: () => Promise.reject(error),
  };
  return { written, done: expand(deps, job, new AbortController().signal) };
}

describe("the expansion of a send that was recalled", () => {
  test("is done when the record of the send is gone: there is nothing to recall", async () => {
    const { written, done } = expandRecalled(failure("RecordNotFoundError", "no such send"));
    await done;
    expect(written).toEqual([]);
  });

  test("is tried again when its recall fails", async () => {
    await expect(expandRecalled(failure("NetworkError", "away")).done).rejects.toThrow("away");
  });
});
