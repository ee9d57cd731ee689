// @ts-check
import { attempt, element, find, onSubmit, toTime } from "./element.js";
import { readEvents } from "./events.js";
import { getUserToken } from "./session.js";

/** The largest window of a session: as many are read. */
const maxRead = 1_000;
/** How long nothing may come before the search is over, in milliseconds: less may be stored than was said first. */
const silentMs = 2_000;

/**
 * What is stored for a user, by key.
 *
 * @param {HTMLElement} section
 * @param {import("./api.js").Api} api
 * @param {AbortSignal} signal
 */
export function openSearch(section, api, signal) {
  const form = /** @type {HTMLFormElement} */ (find(section, "form"));
  const output = find(section, "output");
  const list = find(section, "#found");

  onSubmit(form, ({ user = "", key = "" }, button) =>
    attempt(output, button, async () => {
      list.replaceChildren();
      const { found, isAll } = await readInbox(api, user, signal);
      const meant = found.filter((notification) => key === "" || notification.key.includes(key));
      list.replaceChildren(...meant.reverse().map(draw));
      const what = `${meant.length} of ${found.length} stored for ${user}`;
      const rest = isAll ? "" : `: only the ${maxRead} oldest are looked through`;
      output.replaceChildren(element("p", { class: "hint" }, `${what}${rest}.`));
    }),
  );
}

/**
 * Reads a user's stored notifications as a device without a name that anybody knows, which acknowledges nothing: the
 * service keeps nothing of it.
 *
 * @param {import("./api.js").Api} api
 * @param {string} userId
 * @param {AbortSignal} signal
 */
async function readInbox(api, userId, signal) {
  const token = await getUserToken(api, userId);
  const reading = new AbortController();
  const stop = () => reading.abort();
  signal.addEventListener("abort", stop);
  const deviceID = `console-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
  const query = new URLSearchParams({ deviceID, start: "all", window: String(maxRead) });
  /** @type {any[]} */
  const found = [];
  let pending = 0;
  let taken = 0;
  let timer = setTimeout(stop, silentMs);
  try {
    const response = await api.stream(`/events?${query}`, reading.signal, token);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(stop, silentMs);
    };
    for await (const { event, data } of readEvents(response, alive)) {
      if (event === "ready") pending = Number(data.pending ?? 0);
      if (event === "notification" && data.sequence !== undefined) found.push(data);
      if (event !== "ready" && event !== "heartbeat") taken++;
      if (taken >= Math.min(pending, maxRead)) break;
    }
  } catch (error) {
    if (!reading.signal.aborted || signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    stop();
  }
  return { found, isAll: pending <= maxRead };
}

/** @param {any} notification */
function draw({ key, data = "", sendTime, sequence, serverMsgID }) {
  return element(
    "li",
    { class: "event notification" },
    element(
      "div",
      {},
      element("b", {}, key),
      element("small", {}, `sequence ${sequence}`),
      element("small", {}, toTime(sendTime)),
      element("pre", {}, element("code", {}, data)),
    ),
    element("a", { href: `#status?serverMsgID=${serverMsgID}`, class: "button" }, "Status"),
  );
}
