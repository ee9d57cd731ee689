import { describe, expect, test, vi } from "vitest";
import { createResume } from "../../src/delivery/resume.ts";
import { failure } from "../../src/errors.ts";
import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Cursors } from "../../src/nats/cursors.ts";
import type { Inbox } from "../../src/nats/inbox.ts";

/** An inbox whose newest notification is at 9 of a stream at 12, and a device with or without a cursor. */
function openResume(cursor?: number) {
  const advance = vi.fn((_userId: string, _deviceId: string, sequence: number) => sequence);
  const read = vi.fn(async () => cursor);
  const inbox = { newestSequence: async () => 9, isAssigned: async (_: string, sequence: number) => sequence <= 12 };
  const resume = createResume(inbox as Partial<Inbox> as Inbox, { advance, read } as Partial<Cursors> as Cursors);
  return {
    advance,
    read,
    resume: (start: Start, afterSequence?: number) =>
      resume({ userId: "alice", deviceId: "phone", start, afterSequence }),
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
    const { resume, advance } = openResume(cursor);
    expect(await resume(Start.NEW)).toBe(9);
    expect(advance).toHaveBeenCalledWith("alice", "phone", 9);
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
      expect(advance).toHaveBeenCalledWith("alice", "phone", 5);
      expect(await resume(start, 0)).toBe(0);
    },
  );

  test("at the oldest after a sequence of a store that is gone, which acknowledges nothing", async () => {
    const { resume, advance } = openResume(7);
    expect(await resume(Start.RESUME, 13)).toBe(0);
    expect(advance).not.toHaveBeenCalled();
  });
});

test("a cursor that cannot be read is an error, not the beginning", async () => {
  const { resume, read } = openResume();
  const error = failure("NetworkError", "test");
  read.mockRejectedValue(error);
  await expect(resume(Start.RESUME)).rejects.toBe(error);
});
