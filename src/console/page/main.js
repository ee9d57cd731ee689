// @ts-check
import { openApi } from "./api.js";
import { openCharts } from "./charts.js";
import { openDeadLetters } from "./dead-letters.js";
import { openDevices } from "./device.js";
import { attempt, element, find, onSubmit } from "./element.js";
import { openGroups } from "./groups.js";
import { openSearch } from "./search.js";
import { openSend } from "./send.js";
import { openStatus } from "./status.js";

/** The parts of the page, by the id of their section. Each is opened when somebody has signed in. */
const parts = {
  send: openSend,
  status: openStatus,
  search: openSearch,
  device: openDevices,
  dead: openDeadLetters,
  groups: openGroups,
  live: openCharts,
};

const signIn = find(document, "#sign-in");
const signInForm = /** @type {HTMLFormElement} */ (find(signIn, "form"));
const work = find(document, "#work");
const who = find(document, "#who");

const { api: base } = await (await fetch("console/service.json")).json();
/** @type {HTMLInputElement} */ (find(signInForm, "input")).focus();
find(document, "#api").textContent = base ?? "not there yet: the service is starting";

/** Aborted when who has signed in signs out. */
let session = new AbortController();

onSubmit(signInForm, ({ token = "" }, button) =>
  attempt(find(signIn, "output"), button, async () => {
    if (base === undefined) throw new Error("the service is starting: reload this page in a moment");
    const api = await openApi(base, token);
    signInForm.reset();
    session = new AbortController();
    for (const [id, open] of Object.entries(parts)) open(sectionOf(id), api, session.signal);
    who.replaceChildren(
      element("span", {}, api.userId),
      element("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out"),
    );
    signIn.hidden = true;
    work.hidden = false;
    turn();
  }),
);

window.addEventListener("hashchange", turn);

/** Everything that was shown goes, and with it the token: the page begins anew. */
function signOut() {
  session.abort();
  location.reload();
}

/** @param {string} id */
function sectionOf(id) {
  return find(document, `#${id}`);
}

/** Shows the section that the address names, and moves the focus there. */
function turn() {
  if (work.hidden) return;
  const [named = ""] = location.hash.slice(1).split("?");
  const id = named in parts ? named : "send";
  for (const other of Object.keys(parts)) sectionOf(other).hidden = other !== id;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  find(sectionOf(id), "h2").focus();
}
