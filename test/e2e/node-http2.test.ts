import { describe } from "vitest";

// The way back from the HTTP/2 of our own: what clients of every kind see of a whole service, over the one of Node. The
// files read it when they are imported.
process.env.MUSTREACH_HTTP2 = "node";

describe.each(["protocols", "command-lines", "foreign-grpc", "receive", "session-limits"])(
  "over node:http2, %s",
  async (file) => {
    await import(`./${file}.test.ts`);
  },
);
