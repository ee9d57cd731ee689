import { describe, expect, test, vi } from "vitest";
import { failure } from "../../src/errors.ts";
import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Position } from "../../src/inbox/lineage.ts";
import { resume } from "../../src/receiving/subscribe.ts";

/** An inbox whose newest notification is at 9 of a stream at 12, and a device with or without a cursor. */
function openResume(cursor?: number, epoch = "life") {
  const advance = vi.fn((_userId: string, _deviceId: string, sequence: number) => sequence);
  const position = vi.fn(async () => (cursor === undefined ? undefined : { epoch, sequence: cursor }));
  const flush = vi.fn(async () => {});
  const inbox = {
    newestSequence: async () => 9,
    isAssigned: async (_: string, sequence: number) => sequence <= 12,
    lineage: () => [{ id: "life", first: 4 }],
    placeOf: async (_: string, { epoch, sequence }: Position) => {
      const isStoreChanged = epoch === "gone";
      return { epoch: "life", sequence: isStoreChanged ? 3 : sequence, isStoreChanged };
    },
  };
  const deps = { inbox, cursors: { advance, position, flush } };
  return {
    advance,
    position,
    flush,
    /** The sequence of the place. */
    resume: async (start: Start, afterSequence?: number) =>
      (await resume(deps, { userId: "alice", deviceId: "phone", start, afterSequence, epoch: "" })).sequence,
    resumeAt: (start: Start, afterSequence?: number, of = "life") =>
      resume(deps, { userId: "alice", deviceId: "phone", start, afterSequence, epoch: of }),
  };
}

describe("a session continues", () => {
  test.each([Start.UNSPECIFIED, Start.RESUME])("after the device's cursor (start %i)", async (start) => {
    const { resume, advance } = openResume(7);
    expect(await resume(start)).toBe(7);
    expect(advance).not.toHaveBeenCalled();
  });

  test.each([Start.UNSPECIFIED, Start.RESUME])("at the oldest for a device without one (start %i)", async (start) => {
    expect(await openResume().resume(start)).toBe(0);
  });

  test.each([undefined, 7])("after the newest with NEW, where the cursor then is (cursor %s)", async (cursor) => {
    const { resume, advance, flush } = openResume(cursor);
    expect(await resume(Start.NEW)).toBe(9);
    expect(advance).toHaveBeenCalledWith("alice", "phone", 9, "life", "here");
    expect(flush).toHaveBeenCalledWith("alice", "phone");
    expect(flush.mock.invocationCallOrder[0]).toBeGreaterThan(advance.mock.invocationCallOrder[0] ?? 0);
  });

  test("at the oldest with ALL, and the cursor stays", async () => {
    const { resume, advance } = openResume(7);
    expect(await resume(Start.ALL)).toBe(0);
    expect(advance).not.toHaveBeenCalled();
  });

  test.each([Start.UNSPECIFIED, Start.RESUME, Start.NEW, Start.ALL])(
    "after the device's own sequence, which is an acknowledgement, whatever the start (%i)",
    async (start) => {
      const { resume, advance } = openResume(7);
      expect(await resume(start, 5)).toBe(5);
      expect(advance).toHaveBeenCalledWith("alice", "phone", 5, "life", "if new");
      expect(await resume(start, 0)).toBe(0);
    },
  );

  test("at the oldest after a sequence of a store that is gone, which acknowledges nothing", async () => {
    const { resume, advance } = openResume(7);
    expect(await resume(Start.RESUME, 13)).toBe(0);
    expect(advance).not.toHaveBeenCalled();
  });
});

describe("when the store was replaced, a session continues where the store has gone on", () => {
  const changed = { epoch: "life", sequence: 3, isStoreChanged: true };

  test("by the device's own record, which then acknowledges nothing", async () => {
    const { resumeAt, advance } = openResume();
    expect(await resumeAt(Start.RESUME, 7, "gone")).toEqual(changed);
    expect(advance).not.toHaveBeenCalled();
  });

  test("by the device's cursor", async () => {
    expect(await openResume(7, "gone").resumeAt(Start.RESUME)).toEqual(changed);
  });
});

test("a record with its epoch is an acknowledgement", async () => {
  const { resumeAt, advance } = openResume();
  expect(await resumeAt(Start.RESUME, 7)).toEqual({ epoch: "life", sequence: 7, isStoreChanged: false });
  expect(advance).toHaveBeenCalledWith("alice", "phone", 7, "life", "if new");
});

test("a cursor that cannot be read is an error, not the beginning", async () => {
  const { resume, position } = openResume();
  const error = failure("NetworkError", "test");
  position.mockRejectedValue(error);
  await expect(resume(Start.RESUME)).rejects.toBe(error);
});
