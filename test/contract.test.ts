import { execFile, execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { fromBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { describe, expect, onTestFinished, test } from "vitest";
import { compareContract } from "../.ci/compare-contract.ts";

const root = resolve(import.meta.dirname, "..");
const buf = join(root, "node_modules", ".bin", "buf");

/** A folder of its own, with what a checkout has under these paths and nothing else. */
async function useCopy(...paths: string[]): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-contract-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  for (const path of paths) await cp(join(root, path), join(dir, path), { recursive: true });
  return dir;
}

/** `delivery` → `Delivery` */
function capitalize(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function optionsOf({ options }: FileDescriptorProto) {
  const { goPackage, javaPackage, javaMultipleFiles, csharpNamespace } = options ?? {};
  return { goPackage, javaPackage, javaMultipleFiles, csharpNamespace };
}

test("proto/ alone compiles, and each file of ours says where its code belongs", async () => {
  const dir = await useCopy("proto");
  execFileSync(buf, ["build", "proto", "--as-file-descriptor-set", "--output", "all.binpb"], { cwd: dir });
  const { file: all } = fromBinary(FileDescriptorSetSchema, await readFile(join(dir, "all.binpb")));
  const ours = all.filter(({ name }) => name.startsWith("mustreach/"));
  expect(ours.length).toBeGreaterThan(4);
  for (const file of ours) {
    const [, room = ""] = file.package.split(".");
    expect({ name: file.name, ...optionsOf(file) }).toEqual({
      name: file.name,
      goPackage: `mustreach/${room}/v1;${room}v1`,
      javaPackage: `mustreach.${room}.v1`,
      javaMultipleFiles: true,
      csharpNamespace: `Mustreach.${capitalize(room)}.V1`,
    });
  }
  // The others are as their owners publish them, so that generated code finds the packages that those publish.
  for (const file of all.filter(({ name }) => name.startsWith("google/") && !name.startsWith("google/protobuf/"))) {
    expect(file.options?.goPackage, file.name).toMatch(/^google\.golang\.org\/genproto\/googleapis\//);
  }
});

describe("the comparison with the last release", () => {
  /** A repository whose release v1.0.0 has the protos of this checkout, with a later commit on top. */
  async function useRepository() {
    const dir = await useCopy("proto", "buf.yaml");
    const git = (...args: string[]) => execFileSync("git", args, { cwd: dir, stdio: "ignore" });
    const commit = (subject: string) => {
      git("add", "--all");
      git("-c", "user.name=tester", "-c", "user.email=tester@example.com", "commit", "--allow-empty", "-m", subject);
    };
    git("init", "--initial-branch", "main");
    commit("first");
    git("tag", "v1.0.0");
    commit("second");
    return dir;
  }

  /** Edits a proto, which must change it. */
  async function edit(dir: string, path: string, from: string | RegExp, to: string): Promise<void> {
    const file = join(dir, "proto", path);
    const before = await readFile(file, "utf8");
    const after = before.replace(from, to);
    expect(after).not.toBe(before);
    await writeFile(file, after);
  }

  const compare = (dir: string) =>
    compareContract(dir, (_, args) =>
      promisify(execFile)(buf, args, { cwd: dir }).catch(({ stdout }: { stdout: string }) => {
        throw new Error(stdout);
      }),
    );

  const msg = "mustreach/msg/v1/msg.proto";

  test("accepts what is as it was, and what is added", async () => {
    const dir = await useRepository();
    expect(await compare(dir)).toBe("with v1.0.0");
    await edit(dir, msg, "message GetConversationsRequest {}", "message GetConversationsRequest { int32 page = 1; }");
    await mkdir(join(dir, "proto/mustreach/more/v1"), { recursive: true });
    await writeFile(
      join(dir, "proto/mustreach/more/v1/more.proto"),
      'syntax = "proto3";\npackage mustreach.more.v1;\n',
    );
    expect(await compare(dir)).toBe("with v1.0.0");
  });

  test.each<[what: string, from: string | RegExp, to: string, found: string]>([
    ["a field that is gone", /\n *string key = 4 .*?];/s, "", 'field "4" with name "key"'],
    ["a field of another type", "bool send_msg = 6", "string send_msg = 6", 'Field "6" with name "send_msg"'],
    ["another JSON name", 'json_name = "sendUserID"', 'json_name = "sender"', 'from "sendUserID" to "sender"'],
    ["a method that is gone", /\n *rpc PullMessages\(.*?\n {2}}\n/s, "\n", 'RPC "PullMessages"'],
    ["another Go package", 'go_package = "mustreach/msg', 'go_package = "elsewhere/msg', '"go_package"'],
  ])("finds %s", async (_, from, to, found) => {
    const dir = await useRepository();
    await edit(dir, msg, from, to);
    await expect(compare(dir)).rejects.toThrow(found);
  });

  test("is skipped where there is nothing to compare with", async () => {
    expect(await compare(await useCopy("proto", "buf.yaml"))).toBe("skipped: not a git checkout");
  });
});
