import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

// JSON in, JSON out over node:http, with nothing behind it: the floor of a send over REST.

const answer = { serverMsgID: "8698dd5d163dd79b8fdfa333fee06f40", clientMsgID: "1ca0e4cf279ad5cce6b28331b2b42092" };

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const { recvUserID } = JSON.parse(Buffer.concat(chunks).toString());
    const isBad = request.headers.token === undefined || recvUserID === "";
    const envelope = { errCode: isBad ? 1001 : 0, errMsg: "", errDlt: "", data: { ...answer, sendTime: Date.now() } };
    const body = JSON.stringify(envelope);
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    response.end(body);
  });
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, () => {
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
});
