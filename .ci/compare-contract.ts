import { execFileSync } from "node:child_process";
import { realpathSync } from "node:fs";

/**
 * Compares the protos of a checkout with those of the last release, or before the first one with where this branch left
 * main, and resolves to what it compared with. Whatever breaks a wire, a JSON name or generated code (buf's category
 * FILE, so also another `go_package`) is an error with buf's words.
 *
 * @param root the folder of buf.yaml.
 * @param run runs a tool in `root`, and throws its output when it fails.
 */
export async function compareContract(
  root: string,
  run: (tool: string, args: string[]) => Promise<unknown>,
): Promise<string> {
  const git = (...args: string[]): string | undefined => {
    try {
      return execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    } catch {
      return undefined;
    }
  };

  const top = git("rev-parse", "--show-toplevel");
  if (top === undefined || realpathSync(top) !== realpathSync(root)) return "skipped: not a git checkout";
  const base =
    git("describe", "--tags", "--abbrev=0", "--match", "v*") ??
    git("merge-base", "HEAD", "main") ??
    git("merge-base", "HEAD", "origin/main") ??
    git("rev-parse", "HEAD");
  if (base === undefined || git("rev-parse", "--verify", `${base}:proto`) === undefined) {
    return "skipped: nothing to compare with yet";
  }
  // A worktree has no folder of that name, so git is asked where its objects are.
  const repository = git("rev-parse", "--path-format=absolute", "--git-common-dir");
  await run("buf", ["breaking", "--against", `${repository}#format=git,ref=${base}`]);
  return `with ${/^[0-9a-f]{40}$/.test(base) ? base.slice(0, 8) : base}`;
}
