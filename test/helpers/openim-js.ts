import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { onTestFinished, vi } from "vitest";
import type { OpenimApp, SdkEvent } from "./openim-app.ts";

const soon = { timeout: 20_000, interval: 20 };

/** Starts an app with the JavaScript SDK, in a process of its own, that logs in. It is killed with the test. */
export function startJsApp(url: string, userID: string, token: string, platformID = 5): OpenimApp {
  const settings = { userID, token, platformID, wsAddr: url.replace("http", "ws"), apiAddr: url };
  const script = fileURLToPath(new URL("openim-login.mjs", import.meta.url));
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
