// @ts-check

/** The longest event that is read, in characters: beyond all that the service sends. */
const maxEventLength = 16_777_216;

/**
 * Reads server-sent events (WHATWG HTML, 9.2) as the service writes them. An `EventSource` would, but it cannot send a
 * token.
 *
 * @param {Response} response
 * @param {() => void} onBytes called for everything that comes, heartbeats too
 * @returns {AsyncGenerator<{ event: string, data: any }, void>}
 */
export async function* readEvents(response, onBytes) {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onBytes();
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    if (text.length > maxEventLength) throw new Error("an event without an end");
    for (const block of blocks) {
      const { event, data } = toFields(block);
      if (event !== undefined && data !== undefined) yield { event, data: JSON.parse(data) };
    }
  }
}

/** @param {string} block */
function toFields(block) {
  /** @type {Record<string, string>} */
  const fields = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) fields[name] = value;
  }
  return fields;
}
