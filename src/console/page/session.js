// @ts-check
import { ApiError } from "./api.js";
import { toMessage } from "./element.js";
import { readEvents } from "./events.js";

/** Errors after which a device does not connect again by itself (docs/clients.md, rule 11). */
const finalErrors = [1001, 1002, 1503, 1504, 1505, 1506];
/** How long a stream may be silent, in milliseconds: three heartbeats. */
const silentMs = 45_000;
/** How long the first try waits after a failure and the longest wait, in milliseconds. */
const [firstDelayMs, maxDelayMs] = [500, 30_000];
/** The platform of the token: a browser. */
const webPlatform = 5;

/**
 * @typedef {"connecting" | "online" | "offline"} SessionState
 *
 * @typedef {object} Device
 * @property {import("./api.js").Api} api
 * @property {string} userId
 * @property {string} deviceId
 * @property {string} [token] the one of its last session
 *
 * @typedef {object} SessionListener
 * @property {(state: SessionState, why?: string) => void} onState
 * @property {(event: string, data: any) => void} onEvent
 */

/**
 * Receives as a device, until the signal is aborted or an error is final: with a token of the user, which is got anew each
 * time.
 *
 * @param {Device} device
 * @param {SessionListener} listener
 * @param {AbortSignal} signal
 */
export async function receive(device, { onState, onEvent }, signal) {
  const { api, userId, deviceId } = device;
  let failures = 0;
  for (;;) {
    onState("connecting");
    /** When it may connect again, as the service has asked. @type {number | undefined} */
    let afterMs;
    let why = "the stream has ended";
    const connection = new AbortController();
    const stop = () => connection.abort();
    signal.addEventListener("abort", stop, { once: true });
    let watch = setTimeout(stop, silentMs);
    const alive = () => {
      clearTimeout(watch);
      watch = setTimeout(stop, silentMs);
    };
    try {
      const token = await getUserToken(api, userId);
      device.token = token;
      const path = `/events?${new URLSearchParams({ deviceID: deviceId })}`;
      const response = await api.stream(path, connection.signal, token);
      for await (const { event, data } of readEvents(response, alive)) {
        if (event === "end") throw new ApiError(data);
        if (event === "ready") {
          failures = 0;
          onState("online");
        }
        if (event === "reconnect") afterMs = data.afterMs;
        onEvent(event, data);
      }
    } catch (error) {
      why = toMessage(error);
      if (error instanceof ApiError && finalErrors.includes(error.errCode) && !signal.aborted) {
        onState("offline", why);
        return;
      }
    } finally {
      clearTimeout(watch);
      signal.removeEventListener("abort", stop);
      stop();
    }
    if (signal.aborted) {
      onState("offline");
      return;
    }
    onState("connecting", why);
    const growing = Math.min(maxDelayMs, firstDelayMs * 2 ** failures++);
    await delay((afterMs ?? growing) * (0.5 + Math.random()), signal);
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 */
function delay(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true });
  });
}

/**
 * Acknowledges as a device that has had a session.
 *
 * @param {Device} device
 * @param {{ sequence: string, epoch: string }} place
 */
export async function acknowledge({ api, deviceId, token }, { sequence, epoch }) {
  await api.post("/ack", { deviceID: deviceId, sequence, epoch }, token);
}

/**
 * A token of a user, whoever that is.
 *
 * @param {import("./api.js").Api} api
 * @param {string} userID
 * @returns {Promise<string>}
 */
export async function getUserToken(api, userID) {
  return (await api.post("/auth/get_user_token", { userID, platformID: webPlatform })).token;
}
