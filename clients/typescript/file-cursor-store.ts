import { open, readFile, rename } from "node:fs/promises";
import type { Cursor, CursorStore } from "mustreach/client";

/** Keeps how far one device is in a file of its own. */
export function fileCursorStore(path: string): CursorStore {
  let saved: Cursor | undefined;
  return {
    async load() {
      const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
      const [sequence = "", epoch = ""] = text?.trim().split(" ") ?? [];
      saved = sequence === "" ? undefined : { sequence: BigInt(sequence), epoch };
      return saved;
    },
    async save(_, sequence, epoch = "") {
      // A smaller one of the same epoch comes from a session that was superseded.
      if (saved?.epoch === epoch && sequence <= saved.sequence) return;
      const file = await open(`${path}.new`, "w");
      await file.writeFile(`${sequence} ${epoch}\n`);
      await file.sync();
      await file.close();
      await rename(`${path}.new`, path);
      saved = { sequence, epoch };
    },
  };
}
