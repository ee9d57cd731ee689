// @ts-check
import { element, find, onSubmit, toMessage, toTime } from "./element.js";
import { acknowledge, receive } from "./session.js";

/** Events that one device shows; older ones go. */
const maxShown = 200;

/** @typedef {{ sequence: bigint, epoch: string, button: HTMLElement, item: HTMLElement }} Place an event that is to be acknowledged */

/**
 * Devices of any users, as many as wanted: what arrives at each, to be acknowledged by hand or by itself.
 *
 * @param {HTMLElement} section
 * @param {import("./api.js").Api} api
 * @param {AbortSignal} signal
 */
export function openDevices(section, api, signal) {
  const form = /** @type {HTMLFormElement} */ (find(section, "form"));
  const devices = find(section, "#devices");
  onSubmit(form, ({ user = "", device = "" }) => {
    devices.prepend(openDevice({ api, userId: user, deviceId: device }, signal));
  });
}

/**
 * One device, online.
 *
 * @param {import("./session.js").Device} device
 * @param {AbortSignal} signal
 */
function openDevice(device, signal) {
  const state = element("span", { class: "pill offline", role: "status" }, "offline");
  const problem = element("p", { class: "error" });
  const events = element("ol", { class: "events", "aria-label": "Events, the newest first" });
  const automatic = /** @type {HTMLInputElement} */ (element("input", { type: "checkbox" }));
  const toggle = element("button", {
    type: "button",
    class: "quiet",
    onclick: () => (session === undefined ? connect() : disconnect()),
  });
  const remove = element("button", { type: "button", class: "quiet", onclick: () => leave() }, "Remove");
  const card = element(
    "article",
    { class: "card" },
    element("div", { class: "head" }, element("h3", {}, `${device.userId} · ${device.deviceId}`), state),
    element(
      "div",
      { class: "tools" },
      element("label", { class: "check" }, automatic, " Acknowledge by itself"),
      toggle,
      remove,
    ),
    problem,
    events,
  );

  /** @type {AbortController | undefined} */
  let session;
  /** What is not acknowledged, in order. @type {Place[]} */
  let open = [];
  let isAcknowledging = false;

  const connect = () => {
    const own = new AbortController();
    session = own;
    /** @type {import("./session.js").SessionListener["onState"]} */
    const onState = (now, why = "") => {
      if (session !== own && session !== undefined) return;
      if (now === "offline") session = undefined;
      state.className = `pill ${now}`;
      state.textContent = now;
      problem.textContent = why;
      toggle.textContent = session === undefined ? "Go online" : "Go offline";
    };
    receive(device, { onState, onEvent }, own.signal);
  };

  const disconnect = () => session?.abort();

  const leave = () => {
    disconnect();
    signal.removeEventListener("abort", disconnect);
    card.remove();
  };

  /** @type {import("./session.js").SessionListener["onEvent"]} */
  const onEvent = (event, data) => {
    if (event === "heartbeat" && data.droppedOnlinePushes === undefined && !data.brokerAway) return;
    const { sequence = "0", epoch = "" } = placeOf(event, data);
    const place = BigInt(sequence);
    // After it was offline, the device is sent again what it has not acknowledged.
    const known = place > 0n ? open.find((other) => other.sequence === place && other.epoch === epoch) : undefined;
    if (event === "settled" && data.wasSent) {
      // It takes no place of its own: the place of what it takes back is acknowledged as before.
      if (known !== undefined) known.item.dataset.again = "settled by another device";
      else show(draw(event, data));
      return;
    }
    if (known !== undefined) {
      known.item.dataset.again = "sent again";
      return;
    }
    const item = draw(event, data);
    show(item);
    if (place === 0n || event === "ready") return;
    const button = element(
      "button",
      { type: "button", class: "quiet", onclick: () => acknowledgeTo(place, epoch) },
      "Acknowledge",
    );
    item.append(button);
    open.push({ sequence: place, epoch, button, item });
    if (automatic.checked) acknowledgeAll();
  };

  /** @param {HTMLElement} item */
  const show = (item) => {
    events.prepend(item);
    while (events.childElementCount > maxShown) events.lastElementChild?.remove();
  };

  const acknowledgeAll = () => {
    const last = open.at(-1);
    // One call at a time: the next one covers what has come meanwhile.
    if (last !== undefined && !isAcknowledging) acknowledgeTo(last.sequence, last.epoch);
  };

  /**
   * @param {bigint} sequence
   * @param {string} epoch
   */
  const acknowledgeTo = async (sequence, epoch) => {
    isAcknowledging = true;
    try {
      await acknowledge(device, { sequence: String(sequence), epoch });
      // An acknowledgement covers all before it.
      const isCovered = (/** @type {Place} */ place) => place.epoch === epoch && place.sequence <= sequence;
      for (const { button, item } of open.filter(isCovered)) {
        item.classList.add("done");
        button.replaceWith(element("small", {}, "acknowledged"));
      }
      open = open.filter((place) => !isCovered(place));
      problem.textContent = "";
      isAcknowledging = false;
      if (automatic.checked) acknowledgeAll();
    } catch (error) {
      isAcknowledging = false;
      problem.textContent = toMessage(error);
    }
  };

  automatic.addEventListener("change", () => automatic.checked && acknowledgeAll());
  signal.addEventListener("abort", disconnect);
  connect();
  return card;
}

/**
 * What is acknowledged for an event.
 *
 * @param {string} event
 * @param {any} data
 * @returns {{ sequence?: string, epoch?: string }}
 */
function placeOf(event, data) {
  if (event === "message") return data.notification ?? {};
  if (event === "gap") return { sequence: data.to, epoch: data.epoch };
  return data;
}

/**
 * @param {string} event
 * @param {any} data
 */
function draw(event, data) {
  const { key, data: content, sendTime, sequence, serverMsgID } = event === "message" ? data.notification : data;
  const known = event === "notification" || event === "message";
  const title = known ? key : event;
  return element(
    "li",
    { class: `event ${event}` },
    element(
      "div",
      {},
      element("b", {}, title),
      element("small", {}, known ? (sequence === undefined ? "online push" : `sequence ${sequence}`) : "", " "),
      element("small", {}, sendTime === undefined ? new Date().toLocaleTimeString() : toTime(sendTime)),
      element("pre", {}, element("code", {}, known ? (content ?? "") : JSON.stringify(data))),
      ...(known && sequence !== undefined
        ? [element("a", { href: `#status?serverMsgID=${serverMsgID}` }, "status")]
        : []),
    ),
  );
}
