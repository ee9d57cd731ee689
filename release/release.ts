import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toBillsOfMaterials } from "./bill-of-materials.ts";
import { build } from "./build.ts";
import { project, root } from "./manifest.ts";
import { notesOf } from "./notes.ts";

/**
 * `npm run release`: makes everything that a release ships, in `dist/release`: the npm packages, the protos, what is new,
 * a bill of materials (CycloneDX) of each package, and checksums. The version is that of package.json, the protos are
 * those of the commit.
 *
 * @param to where. What is in this folder is removed. Default `dist/release`.
 * @throws {Error} when CHANGELOG.md has nothing to say of the version: see {@link notesOf}.
 */
export async function release(to = join(root, "dist", "release")): Promise<void> {
  const { version } = project;
  const notes = notesOf(readFileSync(join(root, "CHANGELOG.md"), "utf8"), version);
  rmSync(to, { recursive: true, force: true });
  mkdirSync(to, { recursive: true });
  mkdirSync(join(root, ".cache"), { recursive: true });
  const scratch = mkdtempSync(join(root, ".cache", "release-"));
  try {
    await build(scratch);
    for (const name of ["client", "mustreach"]) npm("pack", "--pack-destination", to, join(scratch, name));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  for (const format of ["zip", "tar.gz"]) {
    const name = `mustreach-protos-${version}`;
    const output = join(to, `${name}.${format}`);
    // The stored form of the service is nobody else's.
    const parts = ["proto", "LICENSE", ":(exclude)proto/mustreach/store"];
    git("archive", `--format=${format}`, `--prefix=${name}/`, `--output=${output}`, "HEAD", ...parts);
  }
  const bill = npm("sbom", "--sbom-format", "cyclonedx", "--package-lock-only");
  for (const [name, ofPackage] of Object.entries(toBillsOfMaterials(bill, version, project.dependencies))) {
    writeFileSync(join(to, `${name}-${version}.cdx.json`), `${JSON.stringify(ofPackage, undefined, 2)}\n`);
  }
  writeFileSync(join(to, "NOTES.md"), notes);
  const sums = readdirSync(to)
    .toSorted()
    .map((name) => `${sha256(join(to, name))}  ${name}\n`);
  writeFileSync(join(to, "SHA256SUMS"), sums.join(""));
}

function sha256(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

function git(...args: string[]): string {
  return execFileSync("git", args, { cwd: root, encoding: "utf8" });
}

function npm(...args: string[]): string {
  // It is a batch file on Windows.
  return execFileSync("npm", ["--silent", ...args], {
    cwd: root,
    encoding: "utf8",
    shell: process.platform === "win32",
  });
}

if (import.meta.main) {
  if (git("status", "--porcelain") !== "") throw new Error("what would be released is not committed");
  await release();
}
