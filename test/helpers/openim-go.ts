import { gunzipSync, gzipSync } from "node:zlib";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import {
  type MsgData,
  PullMessagesBySeqsRequestSchema,
  PullMessagesBySeqsResponseSchema,
  PushMessagesSchema,
} from "../../src/gen/mustreach/openim/v1/gateway_pb.ts";
import { type GobStruct, readGob } from "../../src/openim/wire/gob-reader.ts";
import { compileGobWriter } from "../../src/openim/wire/gob-writer.ts";
import type { OpenimApp, SdkEvent } from "./openim-app.ts";

/** What the Go SDK keeps on the disk of a device: its number of each conversation. */
export type GoDisk = Map<string, number>;

/** What OpenIM's Go core does on the wire, with its constants: see docs/openim.md. */
const core = {
  maxFrameBytes: 1_048_576,
  requestTimeoutMs: 10_000,
  /** It is 1, 2, 4, 8 and 16 s there. */
  reconnectMs: 300,
  /** More messages than this within ten seconds are gathered before they are looked at. */
  lowLoad: { messages: 20, windowMs: 10_000 },
  gatherMs: { least: 50, most: 1_000 },
  highLoad: 200,
} as const;

const writeRequest = compileGobWriter("GeneralWsReq", {
  ReqIdentifier: "int",
  Token: "string",
  SendID: "string",
  OperationID: "string",
  MsgIncr: "string",
  Data: "bytes",
});

type Messages = Readonly<Record<string, readonly MsgData[]>>;

/** A device that behaves as OpenIM's Go core does. */
export interface GoApp extends OpenimApp {
  /** Sends a request of its own, and resolves to its answer. */
  ask(reqIdentifier: number, data?: Uint8Array): Promise<GobStruct>;
  /** How many pulls it has made. */
  pulls(): number;
}

/** Starts a device on a disk; several may start on one, one after the other. It is killed with the test. */
export function startGoApp(
  url: string,
  userId: string,
  token: string,
  platformId = 2,
  disk: GoDisk = new Map(),
): GoApp {
  const app = new Core(`${url.replace("http", "ws")}/`, userId, token, platformId, disk);
  onTestFinished(app.kill);
  app.connect();
  return app;
}

class Core implements GoApp {
  readonly events: SdkEvent[] = [];
  readonly #url: string;
  readonly #userId: string;
  readonly #disk: GoDisk;
  /** In memory: what it counts as its own before it is on disk. */
  readonly #synced: Map<string, number>;
  readonly #waiting = new Map<string, (answer: GobStruct) => void>();
  #ws: WebSocket | undefined = undefined;
  #isOver = false;
  #requests = 0;
  #pulls = 0;
  /** What happens to it, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #arrivals: { readonly at: number; readonly count: number }[] = [];
  #gathered: Record<string, MsgData[]> | undefined = undefined;

  constructor(url: string, userId: string, token: string, platformId: number, disk: GoDisk) {
    // As it is: the core encodes nothing.
    this.#url = `${url}?sendID=${userId}&token=${token}&platformID=${platformId}&operationID=op-${userId}&isBackground=false&sdkVersion=3.8.0&compression=gzip`;
    this.#userId = userId;
    this.#disk = disk;
    this.#synced = new Map(disk);
  }

  connect(): void {
    if (this.#isOver) return;
    const ws = new WebSocket(this.#url, { maxPayload: core.maxFrameBytes });
    this.#ws = ws;
    ws.on("open", () => {
      this.#tell("OnConnectSuccess");
      this.#enqueue(() => this.#sync());
    });
    ws.on("unexpected-response", (_, response) => {
      let body = "";
      response.on("data", (chunk) => {
        body += chunk;
      });
      response.on("end", () => this.#refused(response.statusCode ?? 0, body));
    });
    ws.on("message", (bytes, isBinary) => this.#read(bytes as Buffer, isBinary));
    ws.on("error", ({ message }) => this.#tell("Error", message));
    ws.on("close", () => {
      this.#tell("Closed");
      if (ws === this.#ws) setTimeout(() => this.connect(), core.reconnectMs);
    });
  }

  received(): { key: string; data: string }[] {
    const isMessage = ({ event }: SdkEvent) => event === "OnRecvCustomBusinessMessage";
    return this.events.filter(isMessage).map(({ data }) => JSON.parse(String(data)));
  }

  saw(name: string): Promise<SdkEvent> {
    return vi.waitFor(
      () => {
        const found = this.events.find(({ event }) => event === name);
        if (found === undefined) throw new Error(`no ${name}, but ${this.events.map(({ event }) => event).join(", ")}`);
        return found;
      },
      { timeout: 20_000, interval: 20 },
    );
  }

  kill = async (): Promise<void> => {
    this.#isOver = true;
    this.#ws?.terminate();
  };

  async leave(): Promise<void> {
    await this.ask(2_003);
    await this.kill();
  }

  pulls(): number {
    return this.#pulls;
  }

  async ask(reqIdentifier: number, data: Uint8Array = new Uint8Array()): Promise<GobStruct> {
    const id = `${this.#userId}_${++this.#requests}`;
    const { promise, resolve, reject } = Promise.withResolvers<GobStruct>();
    this.#waiting.set(id, resolve);
    const request = { ReqIdentifier: reqIdentifier, Token: "", SendID: this.#userId, OperationID: "op", MsgIncr: id };
    if (this.#ws?.readyState !== WebSocket.OPEN) throw new Error("not connected");
    this.#ws.send(gzipSync(writeRequest({ ...request, Data: data })));
    const timer = setTimeout(() => reject(new Error("network timeout")), core.requestTimeoutMs);
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(id);
    });
  }

  #enqueue(work: () => Promise<unknown>): void {
    this.#turn = this.#turn.then(work).catch((error: unknown) => this.#tell("SyncError", String(error)));
  }

  #tell(event: string, data?: unknown): void {
    if (!this.#isOver) this.events.push({ event, data });
  }

  #refused(status: number, body: string): void {
    const { errCode } = JSON.parse(body);
    this.#tell("OnConnectFailed", { status, ...JSON.parse(body) });
    if (errCode === 1_501) this.#tell("OnUserTokenExpired");
    else if (errCode === 1_506) this.#tell("OnKickedOffline");
    else if (errCode > 1_501 && errCode <= 1_507) this.#tell("OnUserTokenInvalid");
    if (errCode >= 1_501 && errCode <= 1_507) this.#isOver = true;
    else setTimeout(() => this.connect(), core.reconnectMs);
  }

  #read(bytes: Buffer, isBinary: boolean): void {
    if (!isBinary) {
      // Its read loop ends for good.
      this.#tell("TextFrame", bytes.toString());
      this.kill();
      return;
    }
    const answer = readGob(gunzipSync(bytes));
    const kind = answer.get("ReqIdentifier");
    if (kind === 2_001) {
      const { notificationMsgs } = fromBinary(PushMessagesSchema, dataOf(answer));
      this.#gather(Object.fromEntries(Object.entries(notificationMsgs).map(([id, { msgs }]) => [id, msgs])));
    } else if (kind === 2_002) {
      this.#tell("OnKickedOffline");
      this.kill();
    } else {
      this.#waiting.get(String(answer.get("MsgIncr")))?.(answer);
    }
  }

  /** Under load, pushes are looked at together. */
  #gather(pushed: Messages): void {
    const now = performance.now();
    const count = Object.values(pushed).flat().length;
    this.#arrivals = this.#arrivals.filter(({ at }) => at > now - core.lowLoad.windowMs);
    this.#arrivals.push({ at: now, count });
    const recent = this.#arrivals.reduce((sum, arrival) => sum + arrival.count, 0);
    if (recent < core.lowLoad.messages) {
      this.#flush();
      this.#enqueue(() => this.#take(pushed));
      return;
    }
    if (this.#gathered === undefined) {
      this.#gathered = {};
      const { least, most } = core.gatherMs;
      const load = Math.min(1, (recent - core.lowLoad.messages) / (core.highLoad - core.lowLoad.messages));
      setTimeout(() => this.#flush(), least + load * (most - least));
    }
    for (const [id, messages] of Object.entries(pushed)) {
      this.#gathered[id] = [...(this.#gathered[id] ?? []), ...messages];
    }
  }

  #flush(): void {
    const gathered = this.#gathered;
    this.#gathered = undefined;
    if (gathered !== undefined) this.#enqueue(() => this.#take(gathered));
  }

  /** Takes pushes: those without a number at once, others when they follow what it has, or else it pulls. */
  async #take(pushed: Messages): Promise<void> {
    const behind: [string, number, number][] = [];
    for (const [id, messages] of Object.entries(pushed)) {
      const numbered = messages.filter(({ seq }) => seq !== 0n);
      for (const message of messages) if (message.seq === 0n) this.#call(id, [message]);
      const last = Number(numbered.at(-1)?.seq ?? 0n);
      const synced = this.#synced.get(id) ?? 0;
      if (last !== 0 && last === synced + numbered.length) {
        this.#call(id, numbered);
        this.#synced.set(id, last);
      } else if (last > synced) {
        behind.push([id, synced + 1, last]);
      }
    }
    for (const [conversationId, begin, end] of behind) await this.#pull(conversationId, begin, end);
  }

  async #pull(conversationId: string, begin: number, end: number): Promise<void> {
    const seqRanges = [{ conversationId, begin: BigInt(begin), end: BigInt(end), num: 10n }];
    const request: MessageInitShape<typeof PullMessagesBySeqsRequestSchema> = { userId: this.#userId, seqRanges };
    this.#pulls++;
    const message = create(PullMessagesBySeqsRequestSchema, request);
    const answer = await this.ask(1_002, toBinary(PullMessagesBySeqsRequestSchema, message));
    if (answer.get("ErrCode") !== undefined) throw new Error(`pull: ${answer.get("ErrCode")}`);
    const { notificationMsgs } = fromBinary(PullMessagesBySeqsResponseSchema, dataOf(answer));
    for (const [id, { msgs }] of Object.entries(notificationMsgs)) this.#call(id, msgs);
    // Also what was not in the answer.
    this.#synced.set(conversationId, end);
  }

  async #sync(): Promise<void> {
    const answer = await this.ask(1_001);
    if (answer.get("ErrCode") !== undefined) throw new Error("OnSyncServerFailed");
    await this.ask(1_006);
    this.#tell("OnSyncServerFinish");
  }

  #call(id: string, messages: readonly MsgData[]): void {
    if (this.#isOver) return;
    for (const { contentType, content } of messages) {
      if (contentType === 2_001) this.#tell("OnRecvCustomBusinessMessage", readDetail(content));
    }
    const last = Number(messages.at(-1)?.seq ?? 0n);
    if (last !== 0) this.#disk.set(id, last);
  }
}

function dataOf(answer: GobStruct): Uint8Array {
  const data = answer.get("Data");
  return data instanceof Uint8Array ? data : new Uint8Array();
}

function readDetail(content: Uint8Array): string {
  return JSON.parse(Buffer.from(content).toString()).detail;
}
