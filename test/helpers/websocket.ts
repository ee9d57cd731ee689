import { once } from "node:events";
import net from "node:net";
import { WebSocket } from "ws";

/** A WebSocket's client that keeps what comes. */
export interface TestSocket {
  readonly ws: WebSocket;
  /** The next message, a text as such; once the connection is over, how it was closed. */
  next(): Promise<string | Buffer | Closed>;
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** Opens a WebSocket with a client of another make. Throws when it is refused, with the status. */
export async function openWebSocket(
  url: string,
  protocols: string[] = [],
  headers: Record<string, string> = {},
): Promise<TestSocket> {
  const ws = new WebSocket(url.replace(/^http/, "ws"), protocols, { headers, perMessageDeflate: false });
  const came: (string | Buffer | Closed)[] = [];
  let wake = () => {};
  const take = (what: string | Buffer | Closed) => {
    came.push(what);
    wake();
  };
  ws.on("message", (data, isBinary) => take(isBinary ? (data as Buffer) : data.toString()));
  ws.on("close", (code, reason) => take({ code, reason: reason.toString() }));
  await once(ws, "open");
  ws.on("error", () => {});
  return {
    ws,
    async next() {
      for (;;) {
        const first = came.shift();
        if (first !== undefined) return first;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

/** A frame as a peer sees it. */
export interface RawFrame {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** A WebSocket by hand, for what no client sends. */
export interface RawSocket {
  readonly socket: net.Socket;
  /** The next frame of the server; undefined when the connection is over. */
  next(): Promise<RawFrame | undefined>;
}

/** Upgrades a connection, and does nothing more by itself. */
export async function openRawWebSocket(port: number, path: string, fields: string[] = []): Promise<RawSocket> {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
  let bytes: Buffer = Buffer.alloc(0);
  let isOver = false;
  let wake = () => {};
  socket.on("data", (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    wake();
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    isOver = true;
    wake();
  });
  const more = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });
  socket.write([...upgradeLines(path), ...fields, "", ""].join("\r\n"));
  while (!isOver && !bytes.includes("\r\n\r\n")) await more();
  const end = bytes.indexOf("\r\n\r\n");
  const head = bytes.subarray(0, end).toString();
  if (!head.startsWith("HTTP/1.1 101 ")) throw new Error(head);
  bytes = bytes.subarray(end + 4);
  return {
    socket,
    async next() {
      for (;;) {
        const [frame, rest] = readFrame(bytes);
        bytes = rest;
        if (frame !== undefined || isOver) return frame;
        await more();
      }
    },
  };
}

export function upgradeLines(path: string): string[] {
  return [
    `GET ${path} HTTP/1.1`,
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  ];
}

/** A frame as a client sends it. Its mask is zero, so that its bytes are what they are. */
export function clientFrame(first: number, payload: Uint8Array | string = "", isMasked = true): Buffer {
  const body = Buffer.from(payload);
  const mask = isMasked ? 0x80 : 0;
  const length = Buffer.alloc(body.length < 126 ? 1 : 3);
  length[0] = mask | (body.length < 126 ? body.length : 126);
  if (length.length > 1) length.writeUInt16BE(body.length, 1);
  return Buffer.concat([Buffer.of(first), length, Buffer.alloc(isMasked ? 4 : 0), body]);
}

function readFrame(bytes: Buffer): [RawFrame | undefined, Buffer] {
  if (bytes.length < 2) return [undefined, bytes];
  const short = bytes.readUInt8(1) & 0x7f;
  const headerBytes = short === 127 ? 10 : short === 126 ? 4 : 2;
  if (bytes.length < headerBytes) return [undefined, bytes];
  const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
  const end = headerBytes + length;
  if (bytes.length < end) return [undefined, bytes];
  return [{ opcode: bytes.readUInt8(0) & 0xf, payload: bytes.subarray(headerBytes, end) }, bytes.subarray(end)];
}
