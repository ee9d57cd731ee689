import type { ServiceImpl } from "@connectrpc/connect";
import { type Command, CommanderError } from "commander";
import { describe, expect, test } from "vitest";
import { recallCommand } from "../../../src/cli/admin/recall.ts";
import { statusCommand } from "../../../src/cli/admin/status.ts";
import { failure } from "../../../src/errors.ts";
import { DeliveryState, MsgService } from "../../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { runCommand, startFakeService } from "./fake-service.ts";

const serverMsgId = "0123456789abcdef0123456789abcdef";

/** A service on a port of its own that knows one notification, for so many recipients, and what it was asked. */
async function openService({ recipients = 1, clientMsgId = "order-77" } = {}) {
  const asked: string[] = [];
  const find = (reference: { serverMsgId: string; clientMsgId: string }, token: string | null) => {
    asked.push(`${token}: ${reference.serverMsgId}|${reference.clientMsgId}`);
    if (reference.serverMsgId === serverMsgId || reference.clientMsgId === clientMsgId) return;
    throw failure("RecordNotFoundError", "not known");
  };
  const implementation: Partial<ServiceImpl<typeof MsgService>> = {
    getDeliveryStatus(request, context) {
      find(request, context.requestHeader.get("token"));
      const { pageNumber, showNumber } = request;
      const first = (pageNumber - 1) * showNumber;
      return {
        serverMsgId,
        clientMsgId,
        sendTime: 1_700_000_000_000n,
        counts: { total: recipients, delivered: recipients },
        recipients: Array.from({ length: Math.min(showNumber, Math.max(0, recipients - first)) }, (_, i) => ({
          userId: `user ${first + i}`,
          state: DeliveryState.DELIVERED,
          devices: [{ deviceId: "phone", state: DeliveryState.DELIVERED, acknowledgedTime: 1_700_000_000_001n }],
        })),
      };
    },
    recallBusinessNotification(request, context) {
      find(request, context.requestHeader.get("token"));
      return { withdrawn: 3, delivered: 2 };
    },
  };
  return { to: ["--url", await startFakeService(MsgService, implementation), "--token", "t"], asked };
}

/** Runs a command, and returns the lines of JSON that it wrote on standard output. */
async function run(command: Command, ...args: string[]): Promise<unknown[]> {
  const output = await runCommand(command, ...args);
  return output
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

describe("status", () => {
  test("prints each recipient as a line of JSON, then the counts", async () => {
    const { to } = await openService();
    expect(await run(statusCommand(), "--id", "order-77", ...to)).toEqual([
      {
        userID: "user 0",
        state: "delivered",
        devices: [{ deviceID: "phone", state: "delivered", acknowledgedTime: 1_700_000_000_001 }],
      },
      {
        serverMsgID: serverMsgId,
        clientMsgID: "order-77",
        sendTime: 1_700_000_000_000,
        counts: { total: 1, delivered: 1, pending: 0, expired: 0, recalled: 0, scheduled: 0, collapsed: 0 },
      },
    ]);
  });

  test.each([0, 999, 1_000, 1_001, 2_000])("prints all of %i recipients, each once", async (recipients) => {
    const { to } = await openService({ recipients });
    const lines = (await run(statusCommand(), "--id", "order-77", ...to)) as { userID?: string }[];
    expect(lines.slice(0, -1).map(({ userID }) => userID)).toEqual(
      Array.from({ length: recipients }, (_, i) => `user ${i}`),
    );
    expect(lines.at(-1)).toMatchObject({ counts: { total: recipients } });
  });
});

describe("recall", () => {
  test("prints what it came to", async () => {
    const { to } = await openService();
    expect(await run(recallCommand(), "--id", "order-77", ...to)).toEqual([{ withdrawn: 3, delivered: 2 }]);
  });
});

describe.each([
  ["status", statusCommand],
  ["recall", recallCommand],
])("the id that %s is given", (_, command) => {
  test("is the server's when it looks like one, and then the client's", async () => {
    const generated = "fedcba9876543210fedcba9876543210";
    const { to, asked } = await openService({ clientMsgId: generated });
    await run(command(), "--id", serverMsgId, ...to);
    await run(command(), "--id", generated, ...to);
    expect(asked).toEqual([`t: ${serverMsgId}|`, `t: ${generated}|`, `t: |${generated}`]);
  });

  test("is the client's when it does not look like the server's", async () => {
    const { to, asked } = await openService();
    await run(command(), "--id", "order-77", ...to);
    expect(asked).toEqual(["t: |order-77"]);
  });

  test("is an error when it is not known, or not given", async () => {
    const { to } = await openService();
    await expect(run(command(), "--id", "another", ...to)).rejects.toMatchObject({
      name: "MustreachClientError",
      errCode: 1004,
    });
    await expect(run(command(), ...to)).rejects.toBeInstanceOf(CommanderError);
  });
});
