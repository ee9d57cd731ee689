import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createRandom } from "../../../src/verify/random.ts";
import { findLacking } from "../../../src/verify/versions/lacking.ts";
import { findInstallation, type Replaceable, versionFault } from "../../../src/verify/versions/versions.ts";
import { version } from "../../../src/version.ts";

const root = resolve(import.meta.dirname, "../../..");

async function directory(files: Readonly<Record<string, string>>): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-versions-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(dir, path, ".."), { recursive: true });
    await writeFile(join(dir, path), content);
  }
  return dir;
}

const manifest = JSON.stringify({ name: "mustreach", version: "0.0.9" });

test("an installation is found in a checkout, in a package, and where a package is installed", async () => {
  expect(await findInstallation(root)).toEqual({ version, program: join(root, "src/main.ts") });
  const built = await directory({ "package.json": manifest, "dist/main.js": "" });
  expect(await findInstallation(built)).toEqual({ version: "0.0.9", program: join(built, "dist/main.js") });
  const at = "node_modules/mustreach";
  const app = await directory({
    "package.json": '{"name":"app","version":"1.0.0"}',
    [`${at}/package.json`]: manifest,
    [`${at}/dist/main.js`]: "",
  });
  expect(await findInstallation(app)).toEqual({ version: "0.0.9", program: join(app, at, "dist/main.js") });
});

test("what has no program, and what is something else, is no installation", async () => {
  await expect(findInstallation(await directory({ "package.json": manifest }))).rejects.toThrow("no mustreach");
  const other = await directory({ "package.json": '{"name":"other","version":"1.0.0"}', "src/main.ts": "" });
  await expect(findInstallation(other)).rejects.toThrow("no mustreach");
});

test("what another version does not know of a send is told by its own descriptors", async () => {
  expect(await findLacking(await findInstallation(root))).toEqual(new Set());
  const known = [
    "sendUserId",
    "recvUserId",
    "recvGroupId",
    "key",
    "data",
    "sendMsg",
    "reliabilityLevel",
    "clientMsgId",
  ];
  const fields = JSON.stringify([...known, "ttlSeconds", "sendAt", "isOld"].map((localName) => ({ localName })));
  const generated = `export const SendBusinessNotificationRequestSchema = { fields: ${fields} };`;
  const older = await directory({
    "package.json": '{"name":"mustreach","version":"0.0.9","type":"module"}',
    "dist/main.js": "",
    "dist/gen/mustreach/msg/v1/msg_pb.js": generated,
  });
  const lacking = await findLacking(await findInstallation(older));
  for (const name of ["recvUserIds", "recvDeviceId", "exceptDeviceId", "ackScope", "collapseKey", "report"]) {
    expect(lacking).toContain(name);
  }
  for (const name of [...known, "isOld"]) expect(lacking).not.toContain(name);
  const without = await directory({ "package.json": manifest, "dist/main.js": "" });
  await expect(findLacking(await findInstallation(without))).rejects.toThrow("msg_pb.js");
});

test("instances are replaced one after the other, and back the next time", async () => {
  const seen: string[] = [];
  const instanceOf = (name: string): Replaceable => ({
    end: async (signal: string) => void seen.push(`${name} ends by ${signal}`),
    use: (program: string) => void seen.push(`${name} uses ${program}`),
    start: async () => void seen.push(`${name} starts`),
  });
  const installations = ["old", "new"].map((program) => ({ program, version: program }));
  const fault = versionFault([instanceOf("a"), instanceOf("b")], installations, 10);
  const random = createRandom(1, "versions");
  const changed = (program: string) =>
    ["a", "b"].flatMap((name) => [`${name} ends by SIGTERM`, `${name} uses ${program}`, `${name} starts`]);
  await fault.happen(random);
  await fault.happen(random);
  expect(seen).toEqual([...changed("new"), ...changed("old")]);
});
