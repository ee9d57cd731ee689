/** A picture, in units of its own. */
export interface Picture {
  readonly title: string;
  readonly width: number;
  readonly height: number;
  /** Its classes besides those of text, as CSS. */
  readonly style: string;
  readonly parts: readonly string[];
}

/** A grey in between is readable on a light page and on a dark one. */
const textStyle = `
  text { font: 12px system-ui, sans-serif; fill: #7b838c }
  .title { font-size: 14px; font-weight: 600 }`;

/** The picture as SVG, under its title. */
export function toSvg({ title, width, height, style, parts }: Picture): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(title)}">
<style>${textStyle}${style}</style>
<text class="title" x="12" y="22">${escapeXml(title)}</text>
${parts.join("\n")}
</svg>
`;
}

/** A place or length, as fine as a picture shows it. */
export function round(value: number): number {
  return Math.round(value * 10) / 10;
}

export function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
