import { readFile, writeFile } from "node:fs/promises";
import { type Setting, settings } from "../src/config.ts";

const [open, close] = ["<!-- settings -->\n", "<!-- /settings -->"];

/** README's text with the configuration table that the settings give. */
export function withSettingsTable(readme: string): string {
  const rows = Object.entries<Setting>(settings).map(
    ([name, setting]) => `| \`MUSTREACH_${name}\` | ${toDefaults(setting)} | ${setting.means} |`,
  );
  const table = ["| variable | default | meaning |", "|---|---|---|", ...rows, ""].join("\n");
  const [before = "", rest = ""] = readme.split(open);
  return `${before}${open}\n${table}\n${close}${rest.split(close)[1] ?? ""}`;
}

function toDefaults({ default: usual, defaultWithReplicas }: Setting): string {
  if (usual === undefined) return "";
  return defaultWithReplicas === undefined ? `\`${usual}\`` : `\`${usual}\`; with replicas \`${defaultWithReplicas}\``;
}

if (import.meta.main) {
  const path = new URL("../README.md", import.meta.url);
  await writeFile(path, withSettingsTable(await readFile(path, "utf8")));
}
