import { gunzipSync, gzipSync } from "node:zlib";
import { toNetworkError } from "../../client/wire/error.ts";
import { readGob } from "../../openim/wire/gob-reader.ts";
import { compileGobWriter } from "../../openim/wire/gob-writer.ts";

/** What OpenIM's gateway answers, or tells unasked. */
export interface OpenimAnswer {
  readonly reqIdentifier: number;
  /** By which an answer is known; empty for what is told unasked. */
  readonly msgIncr: string;
  readonly errCode: number;
  /** A protobuf message. */
  readonly data: Uint8Array;
}

/** A connection as one of OpenIM's SDKs has it. */
export interface OpenimConnection {
  /** What comes next; undefined for a sign of life. Rejects when the connection is over. */
  next(): Promise<OpenimAnswer | undefined>;
  ask(reqIdentifier: number, msgIncr: string, data: Uint8Array): void;
  /** Asks for a sign of life, unless the last one is still awaited. */
  ping(): void;
}

/** Who connects. */
export interface OpenimLogin {
  readonly baseUrl: string;
  readonly userId: string;
  readonly token: string;
  readonly platformId: number;
  readonly signal: AbortSignal;
}

/** What OpenIM's clients ask for, and are told. */
export const openimKinds = { maxSeq: 1_001, pull: 1_002, readSeqs: 1_006, push: 2_001, kick: 2_002 } as const;

const writeRequest = compileGobWriter("GeneralWsReq", {
  ReqIdentifier: "int",
  Token: "string",
  SendID: "string",
  OperationID: "string",
  MsgIncr: "string",
  Data: "bytes",
});

/** Connects as the JavaScript SDK does, or as the Go core does, until the signal. Both write the parameters as they are. */
export function connectOpenim(sdk: "js" | "go", login: OpenimLogin): OpenimConnection {
  const { baseUrl, userId, token, platformId, signal } = login;
  const query = `sendID=${userId}&token=${token}&platformID=${platformId}&operationID=op-${userId}&isBackground=false`;
  const kind = sdk === "js" ? "isMsgResp=true&sdkType=js" : "sdkVersion=3.8.0&compression=gzip";
  const socket = new WebSocket(`${baseUrl.replace(/^http/, "ws")}/?${query}&${kind}`);
  socket.binaryType = "arraybuffer";
  const waiting: (OpenimAnswer | undefined)[] = [];
  let isPinged = false;
  let end: unknown;
  let wake = () => {};
  const finish = (error: unknown) => {
    end ??= error;
    signal.removeEventListener("abort", abort);
    socket.close();
    wake();
  };
  const abort = () => finish(signal.reason);
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();

  socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
    try {
      if (typeof data === "string") readText(data);
      else take(sdk === "js" ? readJson(new Uint8Array(data)) : readGzippedGob(new Uint8Array(data)));
      wake();
    } catch (thrown) {
      finish(thrown);
    }
  };
  socket.onerror = () => finish(toNetworkError("the WebSocket failed"));
  socket.onclose = ({ code }) => finish(toNetworkError(`the WebSocket was closed with ${code}`));

  /** An answer to the handshake, or a pong; the Go core knows neither. */
  function readText(text: string) {
    const { errCode = 0, errMsg, type } = JSON.parse(text);
    if (sdk === "go") throw new Error("a text frame ends the Go core's read loop");
    if (errCode !== 0) throw toNetworkError(`the handshake was refused: ${errMsg}`);
    take({ reqIdentifier: 0, msgIncr: type === "pong" ? pingId : "", errCode, data: nothing });
  }

  function take(answer: OpenimAnswer) {
    const isPong = answer.msgIncr === pingId;
    if (isPong) isPinged = false;
    waiting.push(isPong ? undefined : answer);
  }

  return {
    async next() {
      while (waiting.length === 0 && end === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      // An SDK's callbacks are called as frames come, so the app has these.
      if (waiting.length === 0) throw end;
      return waiting.shift();
    },
    ask,
    ping() {
      if (socket.readyState !== WebSocket.OPEN || isPinged) return;
      isPinged = true;
      if (sdk === "js") socket.send('{"type":"ping"}');
      // Pings are control frames there, whose pongs nobody sees: an answer says the same.
      else ask(openimKinds.readSeqs, pingId, nothing);
    },
  };

  function ask(reqIdentifier: number, msgIncr: string, data: Uint8Array) {
    const request = { SendID: userId, OperationID: "op", MsgIncr: msgIncr, Data: data };
    if (sdk === "go") {
      send(gzipSync(writeRequest({ ReqIdentifier: reqIdentifier, Token: "", ...request })));
    } else {
      const text = { reqIdentifier, sendID: userId, operationID: "op", msgIncr };
      send(Buffer.from(JSON.stringify({ ...text, data: Buffer.from(data).toString("base64") })));
    }
  }

  function send(bytes: Uint8Array<ArrayBuffer>) {
    if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
    else socket.addEventListener("open", () => socket.send(bytes), { once: true });
  }
}

const nothing = new Uint8Array();

/** By which the answer is known that is asked for as a sign of life. */
const pingId = "ping";

function readJson(bytes: Uint8Array): OpenimAnswer {
  const { reqIdentifier, msgIncr, errCode, data } = JSON.parse(Buffer.from(bytes).toString());
  return { reqIdentifier, msgIncr, errCode, data: Buffer.from(data, "base64") };
}

function readGzippedGob(bytes: Uint8Array): OpenimAnswer {
  const answer = readGob(gunzipSync(bytes));
  const data = answer.get("Data");
  return {
    reqIdentifier: Number(answer.get("ReqIdentifier") ?? 0),
    msgIncr: String(answer.get("MsgIncr") ?? ""),
    errCode: Number(answer.get("ErrCode") ?? 0),
    data: data instanceof Uint8Array ? data : nothing,
  };
}
