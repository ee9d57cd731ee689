// @ts-check
import { attempt, element, find, onSubmit, read } from "./element.js";
import { snippets } from "./snippets.js";

const path = "/msg/send_business_notification";

/**
 * The form that sends, what was answered, and how a program sends the same.
 *
 * @param {HTMLElement} section
 * @param {import("./api.js").Api} api
 */
export function openSend(section, api) {
  const form = /** @type {HTMLFormElement} */ (find(section, "form"));
  const output = find(section, "output");
  const code = find(section, "#code code");
  const languages = find(section, "#languages");

  languages.replaceChildren(
    ...Object.keys(snippets).map((language, index) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name: "language", value: language, checked: index === 0 }),
        element("span", {}, language),
      ),
    ),
  );

  const write = () => {
    const chosen = /** @type {HTMLInputElement} */ (find(languages, "input:checked")).value;
    code.textContent = snippets[chosen]?.(api.base + path, toBody(read(form), api.userId)) ?? "";
  };
  form.addEventListener("input", write);
  languages.addEventListener("input", write);
  write();

  const copy = find(section, "#copy");
  copy.hidden = navigator.clipboard === undefined;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent ?? "");
    copy.textContent = "Copied";
    setTimeout(() => {
      copy.textContent = "Copy";
    }, 1_500);
  });

  onSubmit(form, (values, button) =>
    attempt(output, button, async () => {
      const { data, headers } = await api.call(path, toBody(values, api.userId));
      const durability = headers.get("mustreach-durability");
      output.replaceChildren(
        element("p", { class: "good" }, `Sent${durability === null ? "" : `, ${durability.toLowerCase()}`}.`),
        element("pre", {}, element("code", {}, JSON.stringify(data, null, 2))),
        element("a", { href: `#status?serverMsgID=${data.serverMsgID}`, class: "button" }, "Show its status"),
      );
    }),
  );
}

/**
 * The body of the request, without what was left as it is by default.
 *
 * @param {Record<string, string>} values
 * @param {string} sendUserID
 */
function toBody({ kind, to = "", key = "", data = "", level, clientMsgID, ttlSeconds, sendAt, sendMsg }, sendUserID) {
  return {
    sendUserID,
    [kind === "group" ? "recvGroupID" : "recvUserID"]: to,
    key,
    data,
    reliabilityLevel: Number(level),
    ...(clientMsgID && { clientMsgID }),
    ...(ttlSeconds && { ttlSeconds: Number(ttlSeconds) }),
    ...(sendAt && { sendAt: new Date(sendAt).getTime() }),
    ...(sendMsg && { sendMsg: true }),
  };
}
