import { connect, createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { type CursorStore, createClient, memoryCursorStore } from "../../src/client/index.ts";
import { createRandom } from "../../src/verify/random.ts";
import { listen } from "../helpers/listen.ts";
import { useServer } from "../helpers/server.ts";

/**
 * Tabs that share a stream, by chance: they come, close, crash, are slow, and lose their connections. Each that is there
 * at the end has had everything since it came, once and in order; and what no tab has handled is not acknowledged.
 *
 * Node's locks and channels are those of the browser for all of a process, so that its clients are the tabs here.
 * `MODEL_SEED` makes the choices of a run (not its timing); `npm run soak` takes another one each time.
 */
const seed = Number(process.env.MODEL_SEED ?? 1);
const steps = 150;
const often = { interval: 10 };

const way = vi.hoisted(() => ({ isWeb: false }));
vi.mock("#client/receiving", async (original) => {
  const node = await original<typeof import("#client/receiving")>();
  const web = await import("../../src/client/web/receiving.ts");
  const chosen = () => (way.isWeb ? web : node);
  return {
    createCalls: (baseUrl: string) => chosen().createCalls(baseUrl),
    createReceiving: (...args: Parameters<typeof node.createReceiving>) => chosen().createReceiving(...args),
  };
});

const server = useServer();

test.each([
  [seed, "in Node"],
  [seed + 1, "of a browser"],
])(
  "no tab misses anything, whatever happens (MODEL_SEED=%d, the way %s)",
  {
    timeout: 180_000,
  },
  async (seed, how) => {
    way.isWeb = how === "of a browser";
    const random = createRandom(seed, "tabs");
    const proxy = await useProxy();
    const user = `tabs-${seed}`;
    const token = await server.userToken(user);
    const cursorStore = random.chance(0.5) ? memoryCursorStore() : undefined;
    const handled = new Set<number>();
    const open = () => openTab({ baseUrl: proxy.url, token, cursorStore, maxDelayMs: random.between(0, 20), handled });
    let sent = 0;

    async function send(): Promise<void> {
      const body = { sendUserID: "imAdmin", recvUserID: user, key: "n", data: String(sent + 1), reliabilityLevel: 2 };
      const { json } = await server.post("/msg/send_business_notification", body, await server.adminToken());
      expect(json.errMsg).toBe("");
      sent++;
    }

    const first = Array.from({ length: 4 }, open);
    let tabs = [...first];
    await vi.waitFor(() => expect(tabs.map((tab) => tab.status())).toEqual(Array(4).fill("ready")), often);
    for (let step = 0; step < steps; step++) {
      const choice = random();
      if (choice < 0.6) for (let n = random.between(1, 4); n > 0; n--) await send();
      else if (choice < 0.68) proxy.cut();
      else if (choice < 0.76 && tabs.length < 6) tabs.push(open());
      else if (choice < 0.84 && tabs.length > 2) {
        const gone = random.chance(0.5) ? tabs[0] : random.pick(tabs);
        tabs = tabs.filter((tab) => tab !== gone);
        void (random.chance(0.5) ? gone?.close() : gone?.crash());
      } else await delay(random.between(0, 60));
    }

    for (const tab of tabs) {
      await vi.waitFor(() => expect(tab.seen.at(-1)).toBe(sent), often);
      const since = first.includes(tab) ? 1 : (tab.seen[0] ?? 1);
      expect(tab.seen).toEqual(range(since, sent));
    }

    for (let n = 0; n < 30; n++) await send();
    await Promise.all(tabs.map((tab) => tab.crash()));
    const last = openTab({ baseUrl: proxy.url, token, cursorStore: undefined, maxDelayMs: 0, handled });
    await vi.waitFor(() => expect(range(1, sent).filter((n) => !handled.has(n))).toEqual([]), often);
    await last.crash();
  },
);

interface TabOptions {
  readonly baseUrl: string;
  readonly token: string;
  readonly cursorStore: CursorStore | undefined;
  /** How long its listener takes at most, in milliseconds. */
  readonly maxDelayMs: number;
  /** Where it notes what its listener has handled. */
  readonly handled: Set<number>;
}

function openTab({ maxDelayMs, handled, ...options }: TabOptions) {
  const seen: number[] = [];
  let crashed = false;
  const client = createClient({
    ...options,
    deviceId: "browser",
    shareStream: true,
    // Small, so that a tab is behind it soon.
    window: 8,
    reconnect: { minDelayMs: 5, maxDelayMs: 40 },
    retry: { minDelayMs: 5, maxDelayMs: 20 },
  });
  client.onRecvCustomBusinessMessage(async ({ data }) => {
    seen.push(Number(data));
    await delay(Math.random() * maxDelayMs);
    if (!crashed) handled.add(Number(data));
  });
  // It may be gone before it is connected.
  client.connect().catch(() => undefined);
  return {
    seen,
    status: client.status,
    close: () => client.close(),
    crash() {
      const closing = client.close({ deadlineMs: 0 });
      // Until that deadline has passed, what the listener ends still counts.
      setTimeout(() => {
        crashed = true;
      }, 0);
      return closing;
    },
  };
}

/** A way to the service that can be cut. */
async function useProxy() {
  const sockets = new Set<Socket>();
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const proxy = createServer((near) => {
    const far = connect(server.port, "127.0.0.1");
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  const port = await listen(proxy);
  onTestFinished(() => {
    cut();
    proxy.close();
  });
  return { url: `http://127.0.0.1:${port}`, cut };
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, n) => from + n);
}
