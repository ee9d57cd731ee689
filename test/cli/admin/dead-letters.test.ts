import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { CommanderError } from "commander";
import { describe, expect, test } from "vitest";
import { deadLettersCommand } from "../../../src/cli/admin/dead-letters.ts";
import { failure } from "../../../src/errors.ts";
import {
  DeadLetterSchema,
  DeadLetterService,
  type ReplayDeadLettersRequest,
} from "../../../src/gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { runCommand, startFakeService } from "./fake-service.ts";

/** A service on a port of its own with two dead letters, one a page, and what it was asked. */
async function openService() {
  const replays: Pick<ReplayDeadLettersRequest, "all" | "escalationIds">[] = [];
  const tokens: (string | null)[] = [];
  const implementation: ServiceImpl<typeof DeadLetterService> = {
    async listDeadLetters({ pageToken }, context) {
      tokens.push(context.requestHeader.get("token"));
      const place = pageToken === "" ? 1 : Number(pageToken);
      const letter = create(DeadLetterSchema, {
        escalationId: `m-0-${place}`,
        userId: "ann",
        notification: { serverMsgId: "m", clientMsgId: "c", data: "é\n", key: "k", sequence: BigInt(place) },
        attempts: 10,
        error: "HTTP 500",
        deadTime: 1_700_000_000_000n,
      });
      return { deadLetters: [letter], nextPageToken: place === 1 ? "2" : "", remaining: 3 - place };
    },
    async replayDeadLetters({ all, escalationIds }, context) {
      tokens.push(context.requestHeader.get("token"));
      if (escalationIds.includes("unknown")) throw failure("RecordNotFoundError", "unknown is not a dead letter");
      replays.push({ all, escalationIds });
      return { replayed: all ? 2 : escalationIds.length };
    },
  };
  return { url: await startFakeService(DeadLetterService, implementation), replays, tokens };
}

const run = (...args: string[]) => runCommand(deadLettersCommand(), ...args);

describe("dead-letters list", () => {
  test("prints all pages, one line of JSON for each letter", async () => {
    const { url, tokens } = await openService();
    const lines = (await run("list", "--url", url, "--token", "admin's")).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).escalationID)).toEqual(["m-0-1", "m-0-2"]);
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      escalationID: "m-0-1",
      userID: "ann",
      attempts: 10,
      error: "HTTP 500",
      deadTime: 1_700_000_000_000,
      sequence: 1,
      serverMsgID: "m",
      clientMsgID: "c",
      sendTime: 0,
      sendUserID: "",
      recvUserID: "",
      recvGroupID: "",
      key: "k",
      data: "é\n",
      reliabilityLevel: 0,
      collapseKey: "",
      traceparent: "",
    });
    expect(tokens).toEqual(["admin's", "admin's"]);
  });

  test("says in a client's words that the service is not there", async () => {
    await expect(run("list", "--url", "http://127.0.0.1:1", "--token", "t")).rejects.toMatchObject({
      name: "MustreachClientError",
    });
  });
});

describe("dead-letters replay", () => {
  test("replays all or some, and prints how many", async () => {
    const { url, replays } = await openService();
    const to = ["--url", url, "--token", "t"];
    expect(await run("replay", "--all", ...to)).toBe('{"replayed":2}\n');
    expect(await run("replay", "--id", "m-0-1", "m-0-2", "--id", "m-0-3", ...to)).toBe('{"replayed":3}\n');
    expect(replays).toEqual([
      { all: true, escalationIds: [] },
      { all: false, escalationIds: ["m-0-1", "m-0-2", "m-0-3"] },
    ]);
  });

  test("fails with the service's error", async () => {
    const { url } = await openService();
    await expect(run("replay", "--id", "unknown", "--url", url, "--token", "t")).rejects.toMatchObject({
      errCode: 1004,
      errDlt: "unknown is not a dead letter",
    });
  });

  test.each([[["replay"]], [["replay", "--all", "--id", "m-0-1"]]])("called as %j is called wrongly", async (args) => {
    const { url, replays } = await openService();
    await expect(run(...args, "--url", url, "--token", "t")).rejects.toBeInstanceOf(CommanderError);
    expect(replays).toEqual([]);
  });
});
