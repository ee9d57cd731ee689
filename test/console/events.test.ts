import { expect, test } from "vitest";
import { readEvents } from "../../src/console/page/events.js";

/** A response of the service that comes in pieces. */
const respond = (...pieces: string[]) =>
  new Response(
    new ReadableStream({
      start(controller) {
        for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
        controller.close();
      },
    }),
  );

test("events are read however they are cut, and comments are signs of life", async () => {
  const text =
    'retry: 2000\nid: e.1\nevent: ready\ndata: {"pending":"1"}\n\n: heartbeat\n\nevent: notification\ndata: {"data":"ü: \\n"}\n\nevent: cut';
  for (const size of [1, 7, text.length]) {
    let signs = 0;
    const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
      text.slice(i * size, (i + 1) * size),
    );
    const read = [];
    for await (const event of readEvents(respond(...pieces), () => signs++)) read.push(event);
    expect(read).toEqual([
      { event: "ready", data: { pending: "1" } },
      { event: "notification", data: { data: "ü: \n" } },
    ]);
    expect(signs).toBe(pieces.length);
  }
});
