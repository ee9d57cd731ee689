import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  SendBusinessNotificationRequestSchema,
  SendBusinessNotificationResponseSchema,
} from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { toFrame } from "../../src/grpc/frame.ts";
import { createListener } from "../../src/http/listener.ts";
import { createEngine } from "../../src/http2/engine/engine.ts";
import type { Accept } from "../../src/http2/exchange.ts";
import { createNodeHttp2 } from "../../src/http2/node.ts";

// Answers a send over gRPC at once, with nothing behind it: HTTP/2 alone, by the implementation that the first argument
// names, `engine` or `node`.

const prefixBytes = 5;
const headers = [":status", "200", "content-type", "application/grpc"] as const;
const answer = create(SendBusinessNotificationResponseSchema, {
  serverMsgId: "8698dd5d163dd79b8fdfa333fee06f40",
  clientMsgId: "1ca0e4cf279ad5cce6b28331b2b42092",
  sendTime: 1679558586210n,
});

const accept: Accept = (exchange) => {
  const pieces: Uint8Array[] = [];
  return {
    onData: (bytes) => void pieces.push(Uint8Array.from(bytes)),
    onEnd() {
      const [first = new Uint8Array()] = pieces;
      const message = (pieces.length === 1 ? first : Buffer.concat(pieces)).subarray(prefixBytes);
      const { recvUserId } = fromBinary(SendBusinessNotificationRequestSchema, message);
      const isBad = exchange.headers.token === undefined || recvUserId === "";
      const frame = toFrame(toBinary(SendBusinessNotificationResponseSchema, answer));
      exchange.answer(headers, frame, ["grpc-status", isBad ? "3" : "0"]);
    },
    onDrain() {},
    onClose() {},
  };
};

const say = () => {};
const createHttp2 = process.argv[2] === "engine" ? createEngine : createNodeHttp2;
const listener = createListener({ accept, createHttp2, log: { debug: say, info: say, warn: say, error: say } });
const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
process.stdout.write(`${JSON.stringify({ port })}\n`);
