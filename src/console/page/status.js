// @ts-check
import { attempt, element, find, onSubmit, toTime } from "./element.js";

/** The states of a delivery, in the order in which they are drawn, and what they are called. */
const states = {
  delivered: "acknowledged",
  settled: "acknowledged by another device",
  pending: "not acknowledged yet",
  scheduled: "to be sent later",
  expired: "expired",
  recalled: "recalled",
  collapsed: "replaced by a newer one",
};

/** How often the status of what is under way is looked up again, in milliseconds. */
const againMs = 2_000;
/** How many recipients are asked for at a time; the answer counts all of them. */
const shown = 100;

/**
 * The status of one notification: how many recipients are in which state, and the devices of each.
 *
 * @param {HTMLElement} section
 * @param {import("./api.js").Api} api
 * @param {AbortSignal} signal
 */
export function openStatus(section, api, signal) {
  const form = /** @type {HTMLFormElement} */ (find(section, "form"));
  const output = find(section, "output");
  const picture = find(section, "#picture");
  const recall = find(section, "#recall");
  /** @type {Record<string, string> | undefined} */
  let asked;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer));

  const look = async () => {
    clearTimeout(timer);
    const about = asked;
    const status = await api.post("/msg/get_delivery_status", { ...about, pageNumber: 1, showNumber: shown });
    // Another one was asked for meanwhile.
    if (about !== asked || signal.aborted) return;
    picture.replaceChildren(...draw(status));
    const { pending, scheduled } = status.counts;
    recall.hidden = pending + scheduled === 0;
    if (pending + scheduled > 0) timer = setTimeout(lookAgain, againMs);
  };

  const lookAgain = () => {
    if (section.hidden || document.hidden) {
      timer = setTimeout(lookAgain, againMs);
      return;
    }
    attempt(output, null, look);
  };

  /** @param {Record<string, string>} about */
  const ask = (about, /** @type {HTMLElement | null} */ button = null) => {
    asked = about;
    picture.replaceChildren();
    recall.hidden = true;
    return attempt(output, button, look);
  };

  onSubmit(form, ({ id = "", by = "" }, button) => ask({ [by]: id }, button));

  recall.addEventListener("click", () => {
    if (!confirm("Recall the notification? Devices that have it are told to take it back.")) return;
    attempt(output, recall, async () => {
      await api.post("/msg/recall_business_notification", { ...asked });
      await look();
    });
  });

  // A link from elsewhere in the page: #status?serverMsgID=…
  const follow = () => {
    const [part, query] = location.hash.slice(1).split("?");
    const id = new URLSearchParams(query).get("serverMsgID");
    if (part !== "status" || id === null) return;
    /** @type {HTMLInputElement} */ (find(form, "[name=id]")).value = id;
    /** @type {HTMLSelectElement} */ (find(form, "[name=by]")).value = "serverMsgID";
    ask({ serverMsgID: id });
  };
  window.addEventListener("hashchange", follow, { signal });
  follow();
}

/** @param {any} status */
function* draw({ serverMsgID, clientMsgID, sendTime, counts, recipients }) {
  yield element(
    "dl",
    {},
    ...term("serverMsgID", element("code", {}, serverMsgID)),
    ...term("clientMsgID", element("code", {}, clientMsgID)),
    ...term("sent", toTime(sendTime)),
  );
  const parts = Object.entries(states).filter(([state]) => counts[state] > 0);
  const bar = element("div", { class: "bar", "aria-hidden": "true" });
  for (const [state] of parts) {
    const piece = element("span", { class: `state ${state}` });
    piece.style.flexGrow = String(counts[state]);
    bar.append(piece);
  }
  yield bar;
  const legend = parts.map(([state, name]) =>
    element(
      "li",
      {},
      mark(state),
      `${counts[state]} of ${counts.total} ${counts.total === 1 ? "recipient" : "recipients"} ${name}`,
    ),
  );
  yield element("ul", { class: "legend" }, ...legend);
  const rows = recipients.map((/** @type {any} */ recipient) =>
    element(
      "li",
      {},
      element("span", { class: "user" }, mark(recipient.state), element("b", {}, recipient.userID)),
      element("ul", { class: "devices" }, ...devicesOf(recipient)),
    ),
  );
  yield element("ul", { class: "recipients" }, ...rows);
  if (counts.total > recipients.length)
    yield element("p", { class: "hint" }, `The first ${recipients.length} recipients of ${counts.total}.`);
}

/** @param {any} recipient */
function devicesOf({ devices }) {
  if (devices.length === 0) return [element("li", { class: "hint" }, "no device has acknowledged anything yet")];
  return devices.map((/** @type {any} */ { deviceID, state, acknowledgedTime }) =>
    element(
      "li",
      { class: `device ${state}` },
      mark(state),
      element("span", {}, deviceID),
      element("small", {}, acknowledgedTime > 0 ? toTime(acknowledgedTime) : nameOf(state)),
    ),
  );
}

/** @param {string} state */
function nameOf(state) {
  return Object.hasOwn(states, state) ? states[/** @type {keyof typeof states} */ (state)] : state;
}

/** @param {string} state */
function mark(state) {
  return element("span", {
    class: `mark state ${state}`,
    role: "img",
    "aria-label": nameOf(state),
    title: nameOf(state),
  });
}

/**
 * @param {string} name
 * @param {Node} value
 */
function term(name, value) {
  return [element("dt", {}, name), element("dd", {}, value)];
}
