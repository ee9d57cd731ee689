import { expect, test } from "vitest";
import { notesOf } from "../../release/notes.ts";

const changelog =
  "# Changelog\n\n## [0.3.0] - unreleased\n\n- New.\n\n## [0.2.0] - 2026-11-01\n\n### Added\n\n- Old.\n";

test("the notes of a release are its section of the changelog", () => {
  expect(notesOf(changelog, "0.2.0")).toBe("## [0.2.0] - 2026-11-01\n\n### Added\n\n- Old.\n");
  expect(notesOf(changelog, "0.3.0-rc.1")).toBe("## [0.3.0] - unreleased\n\n- New.\n");
});

test("a version that the changelog does not have, or calls unreleased, is none", () => {
  expect(() => notesOf(changelog, "0.4.0")).toThrow("no section [0.4.0]");
  expect(() => notesOf(changelog, "0.3.0")).toThrow("says that 0.3.0 is unreleased");
});
