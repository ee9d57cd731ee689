import http from "node:http";
import { status } from "@grpc/grpc-js";
import { expect, onTestFinished, test, vi } from "vitest";
import { startProcess } from "../helpers/process.ts";
import { openGrpc, post, sendByGrpc, toSend } from "../helpers/through.ts";

vi.setConfig({ testTimeout: 120_000 });

/** What a client is told by the system when nobody listens: nothing of its request has gone out. */
const isNobodyThere = (error: unknown) => /ECONNREFUSED/.test(String(error));

test.each([
  ["1", "engine"],
  ["1", "node"],
  ["2", "engine"],
])("SIGTERM under load cuts off no send, with %s processes and HTTP/2 of %s", async (WORKERS, HTTP2) => {
  const service = await startProcess({ WORKERS, HTTP2, DRAIN_TIMEOUT: "20s" });
  onTestFinished(service.remove);
  const token = await service.adminToken();
  const place = { url: service.url };
  const cut: string[] = [];
  let answered = 0;

  const overHttp1 = async (lane: number) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    for (;;) {
      try {
        const { text } = await post(place, toSend(`h1-${lane}`, "{}"), { token }, agent);
        if (JSON.parse(text).errCode !== 0) cut.push(text);
        else answered++;
      } catch (error) {
        if (!isNobodyThere(error)) cut.push(String(error));
        return;
      }
    }
  };
  const overHttp2 = async (lane: number) => {
    const stub = openGrpc(place, "msg", "MsgService");
    for (;;) {
      try {
        await sendByGrpc(stub, `h2-${lane}`, "{}", { token });
        answered++;
      } catch (error) {
        const { code, details } = error as { code: number; details: string };
        // Nobody listens any more, or the connection was refused before the call was sent.
        if (code !== status.UNAVAILABLE || !/ECONNREFUSED|No connection established/.test(details)) cut.push(details);
        return;
      }
    }
  };
  const lanes = Array.from({ length: 12 }, (_, lane) => (lane % 3 === 0 ? overHttp2(lane) : overHttp1(lane)));
  await vi.waitFor(() => expect(answered).toBeGreaterThan(200), { timeout: 60_000 });
  expect(await service.kill("SIGTERM")).toBe(0);
  await Promise.all(lanes);
  expect(cut).toEqual([]);
});
