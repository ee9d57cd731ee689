/**
 * What the changelog says of a version.
 *
 * @throws {Error} when it says nothing, or that a version is not released yet which is no pre-release.
 */
export function notesOf(changelog: string, version: string): string {
  const [number = ""] = version.split("-");
  const section = changelog.split(/^## /m).find((text) => text.startsWith(`[${number}]`));
  if (section === undefined) throw new Error(`CHANGELOG.md has no section [${number}]`);
  const [heading = ""] = section.split("\n");
  if (heading.endsWith("unreleased") && number === version) {
    throw new Error(
      `CHANGELOG.md says that ${number} is unreleased: give it its date, or package.json a version such as ${number}-rc.0`,
    );
  }
  return `## ${section.trim()}\n`;
}
