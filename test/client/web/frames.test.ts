import { expect, test } from "vitest";
import { isEnd, readFrames, toFrame } from "../../../src/client/web/frames.ts";

const texts = ["", "{}", '{"data":"ä€𝄞"}', "x".repeat(70_000), "last"];

function join(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function streamOf(bytes: Uint8Array, chunkBytes: number) {
  return new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += chunkBytes) controller.enqueue(bytes.slice(at, at + chunkBytes));
      controller.close();
    },
  });
}

test.each([1, 3, 4, 5, 6, 1_000, 1_000_000])("frames are the same in pieces of %d bytes", async (chunkBytes) => {
  const all = join(texts.map(toFrame));
  const read: string[] = [];
  for await (const { flags, text } of readFrames(streamOf(all, chunkBytes))) {
    expect(isEnd(flags)).toBe(false);
    read.push(text);
  }
  expect(read).toEqual(texts);
});

test("the last one is marked, and one that breaks off is dropped", async () => {
  const end = toFrame("{}");
  end[0] = 2;
  const flags: boolean[] = [];
  for await (const frame of readFrames(streamOf(join([toFrame("a"), end, toFrame("cut").slice(0, 7)]), 4))) {
    flags.push(isEnd(frame.flags));
  }
  expect(flags).toEqual([false, true]);
});

test("who leaves ends the stream", async () => {
  const body = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(toFrame("a")), cancel });
  let isCancelled = false;
  function cancel() {
    isCancelled = true;
  }
  for await (const { text } of readFrames(body)) {
    expect(text).toBe("a");
    break;
  }
  expect(isCancelled).toBe(true);
});
