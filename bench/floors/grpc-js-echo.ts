import { join } from "node:path";
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

// A server of @grpc/grpc-js that answers a send at once, with nothing behind it: what its users are used to.

const definition = loadPackageDefinition(
  loadSync("mustreach/msg/v1/msg.proto", {
    includeDirs: [join(import.meta.dirname, "..", "..", "proto")],
    longs: Number,
  }),
);
const path = ["mustreach", "msg", "v1", "MsgService"];
const service = path.reduce<unknown>((within, name) => Reflect.get(Object(within), name), definition);
const answer = {
  serverMsgId: "8698dd5d163dd79b8fdfa333fee06f40",
  clientMsgId: "1ca0e4cf279ad5cce6b28331b2b42092",
  sendTime: 1679558586210,
  durability: "DURABILITY_NONE",
};

const server = new Server();
server.addService(Reflect.get(Object(service), "service"), {
  sendBusinessNotification(call: ServerUnaryCall<{ recvUserId: string }, object>, respond: sendUnaryData<object>) {
    const isBad = call.metadata.get("token").length === 0 || call.request.recvUserId === "";
    respond(isBad ? { code: 3 } : null, answer);
  },
});
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stdout.write(`${JSON.stringify({ port })}\n`);
});
