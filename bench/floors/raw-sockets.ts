import { type AddressInfo, createServer, type Socket } from "node:net";
import { pushFrame } from "./push-frame.ts";

// Sockets, and the same bytes to each when the one that began with a C says so: the floor of an online push, and of what
// an idle receiver takes.

const receivers = new Set<Socket>();

function push(): void {
  for (const socket of receivers) socket.write(pushFrame);
}

const server = createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => {});
  socket.once("close", () => receivers.delete(socket));
  socket.once("data", (hello) => {
    socket.write("!");
    if (hello.toString("latin1", 0, 1) === "C") socket.on("data", push);
    else receivers.add(socket);
  });
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, () => {
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
});
