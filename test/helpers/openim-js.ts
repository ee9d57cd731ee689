import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { onTestFinished, vi } from "vitest";

/** An event of the SDK. */
export interface SdkEvent {
  readonly event: string;
  readonly data?: unknown;
  readonly errCode?: number;
}

/** An app with the JavaScript SDK, in a process of its own. */
export interface JsApp {
  /** Every event so far, in their order. */
  readonly events: readonly SdkEvent[];
  /** What OnRecvCustomBusinessMessage was called with so far. */
  received(): { key: string; data: string }[];
  /** The names of the events so far, but for that one. */
  names(): string[];
  /** Resolves when there is an event of this name; rejects when there is none in time. */
  saw(event: string): Promise<SdkEvent>;
  /** Ends the process without goodbye. */
  kill(): Promise<void>;
  /** Logs out, and ends the process. */
  leave(): Promise<void>;
}

const soon = { timeout: 20_000, interval: 20 };

/** Starts an app that logs in. It is killed with the test. */
export function startJsApp(url: string, userID: string, token: string, platformID = 5): JsApp {
  const settings = { userID, token, platformID, wsAddr: url.replace("http", "ws"), apiAddr: url };
  const script = fileURLToPath(new URL("openim-app.mjs", import.meta.url));
  const child = fork(script, [JSON.stringify(settings)], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const ended = once(child, "exit");
  const kill = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  onTestFinished(kill);
  const events: SdkEvent[] = [];
  child.on("message", (event: SdkEvent) => events.push(event));
  const isMessage = ({ event }: SdkEvent) => event === "OnRecvCustomBusinessMessage";
  return {
    events,
    received: () => events.filter(isMessage).map(({ data }) => data as { key: string; data: string }),
    names: () => events.filter((event) => !isMessage(event)).map(({ event }) => event),
    saw: (name) =>
      vi.waitFor(() => {
        const found = events.find(({ event }) => event === name);
        if (found === undefined) throw new Error(`no ${name}, but ${events.map(({ event }) => event).join(", ")}`);
        return found;
      }, soon),
    kill,
    async leave() {
      child.send("leave");
      await ended;
    },
  };
}
