// @ts-check
import { attempt, element, find, toTime } from "./element.js";

/** Dead letters in one answer. */
const pageSize = 50;

/**
 * Escalations that the webhook did not take: read, and given to it again.
 *
 * @param {HTMLElement} section
 * @param {import("./api.js").Api} api
 */
export function openDeadLetters(section, api) {
  const output = find(section, "output");
  const list = find(section, "#letters");
  const [load, more, all] = ["#load", "#more", "#replay-all"].map((selector) => find(section, selector));
  if (load === undefined || more === undefined || all === undefined) return;
  let pageToken = "";

  const loadPage = async () => {
    const { deadLetters, nextPageToken, remaining } = await api.post("/delivery/list_dead_letters", {
      pageSize,
      pageToken,
    });
    list.append(...deadLetters.map(draw));
    pageToken = nextPageToken;
    more.hidden = nextPageToken === "";
    more.textContent = `Show more of ${remaining}`;
    all.hidden = list.childElementCount === 0;
    if (list.childElementCount === 0) output.replaceChildren(element("p", { class: "hint" }, "There are none."));
  };

  const loadAnew = async () => {
    pageToken = "";
    list.replaceChildren();
    await loadPage();
  };

  /**
   * @param {HTMLElement} button
   * @param {object} which
   */
  const replay = (button, which) =>
    attempt(output, button, async () => {
      const { replayed } = await api.post("/delivery/replay_dead_letters", which);
      await loadAnew();
      output.prepend(element("p", { class: "good" }, `${replayed} given to the webhook again.`));
    });

  /** @param {any} letter */
  const draw = ({ escalationID, userID, notification, attempts, error, deadTime }) => {
    const again = element(
      "button",
      { type: "button", class: "quiet", onclick: () => replay(again, { escalationIDs: [escalationID] }) },
      "Replay",
    );
    return element(
      "li",
      { class: "card" },
      element("div", { class: "head" }, element("b", {}, `${notification?.key ?? ""} for ${userID}`), again),
      element("p", { class: "error" }, error),
      element("pre", {}, element("code", {}, notification?.data ?? "")),
      element("small", {}, `${attempts} attempts, given up `, toTime(deadTime), " · "),
      element("a", { href: `#status?serverMsgID=${notification?.serverMsgID}` }, "status"),
    );
  };

  load.addEventListener("click", () => attempt(output, load, loadAnew));
  more.addEventListener("click", () => attempt(output, more, loadPage));
  all.addEventListener("click", () => {
    if (confirm("Give all dead letters to the webhook again?")) replay(all, { all: true });
  });
}
