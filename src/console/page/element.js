// @ts-check

/**
 * Creates an element: attributes by their names, `onclick` and its like as listeners, children as nodes or text.
 *
 * @param {string} name
 * @param {Record<string, string | number | boolean | ((event: Event) => unknown) | undefined>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  set(made, attributes);
  made.append(...children);
  return made;
}

/**
 * As {@link element}, of SVG.
 *
 * @param {string} name
 * @param {Record<string, string | number | boolean | ((event: Event) => unknown) | undefined>} attributes
 * @param {...(Node | string)} children
 * @returns {SVGElement}
 */
export function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(/** @type {any} */ (made), attributes);
  made.append(...children);
  return /** @type {any} */ (made);
}

/**
 * @param {Element} made
 * @param {Record<string, string | number | boolean | ((event: Event) => unknown) | undefined>} attributes
 */
function set(made, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== undefined && value !== false) made.setAttribute(name, String(value));
  }
}

/**
 * The element of the page that a selector finds, which is there.
 *
 * @template {Element} [T=HTMLElement]
 * @param {ParentNode} within
 * @param {string} selector
 * @returns {T}
 */
export function find(within, selector) {
  const found = within.querySelector(selector);
  if (found === null) throw new Error(`${selector} is not in the page`);
  return /** @type {T} */ (/** @type {unknown} */ (found));
}

/**
 * What a form says, by the names of its fields, without white space around it.
 *
 * @param {HTMLFormElement} form
 * @returns {Record<string, string>}
 */
export function read(form) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value).trim()]));
}

/**
 * Does what a form or button asks for: the button waits meanwhile, and what goes wrong is said beside it.
 *
 * @param {HTMLElement} output where it is said
 * @param {HTMLElement | null} button
 * @param {() => Promise<unknown>} work
 */
export async function attempt(output, button, work) {
  button?.setAttribute("disabled", "");
  output.replaceChildren();
  try {
    await work();
  } catch (error) {
    output.replaceChildren(element("p", { class: "error", role: "alert" }, toMessage(error)));
  } finally {
    button?.removeAttribute("disabled");
  }
}

/** @param {unknown} error */
export function toMessage(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Calls back when a form is sent, with what it says, instead of sending it.
 *
 * @param {HTMLFormElement} form
 * @param {(values: Record<string, string>, button: HTMLElement | null) => unknown} onSubmit
 */
export function onSubmit(form, onSubmit) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onSubmit(read(form), event.submitter ?? form.querySelector("button"));
  });
}

/**
 * A time for people: of today, without the day.
 *
 * @param {number | string} ms since the Unix epoch
 */
export function toTime(ms) {
  const at = new Date(Number(ms));
  const isToday = at.toDateString() === new Date().toDateString();
  const text = isToday ? at.toLocaleTimeString() : at.toLocaleString();
  return element("time", { datetime: at.toISOString(), title: at.toString() }, text);
}
