// A program of another local user: takes a port as soon as it is free, greets as a NATS server does, and writes down
// what it is sent, one line of JSON for each piece.
import { createServer } from "node:net";

const port = Number(process.argv[2]);
const info = {
  server_id: "X",
  version: "2.15.2",
  proto: 1,
  headers: true,
  max_payload: 1048576,
  nonce: "bm9uY2U",
  auth_required: true,
};
const server = createServer((socket) => {
  socket.on("error", () => {});
  socket.on("data", (data) => {
    process.stdout.write(`${JSON.stringify(data.toString())}\n`);
    if (data.includes("PING")) socket.write("PONG\r\n");
  });
  process.stdout.write(`"connected"\n`);
  socket.write(`INFO ${JSON.stringify(info)}\r\n`);
});
const listen = () => server.listen(port, "127.0.0.1");
// At once: between the death of the last owner and its client's next try there is a millisecond at most.
server.on("error", () => setImmediate(listen));
server.on("listening", () => process.stdout.write(`"listening"\n`));
listen();
