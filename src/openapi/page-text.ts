/** HTML that needs no further escaping. */
export type Html = string;

export function escapeHtml(text: string): Html {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** A comment's Markdown: paragraphs, lists and code. */
export function toHtml(markdown = ""): Html {
  return markdown
    .split("\n\n")
    .filter((block) => block !== "")
    .map((block) => (block.startsWith("- ") ? toList(block) : `<p>${toInline(block)}</p>`))
    .join("\n");
}

function toList(block: string): Html {
  const items = block.split("\n").map((line) => `<li>${toInline(line.replace(/^- /, ""))}</li>`);
  return `<ul>${items.join("")}</ul>`;
}

function toInline(text: string): Html {
  return escapeHtml(text).replace(/`([^`]+)`/g, "<code>$1</code>");
}
