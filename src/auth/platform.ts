import { wrongField } from "../errors.ts";

/** OpenIM's platforms by platformID, as in its `constant` package. */
const platformNames: ReadonlyMap<number, string> = new Map([
  [1, "iOS"],
  [2, "Android"],
  [3, "Windows"],
  [4, "OSX"],
  [5, "Web"],
  [6, "MiniWeb"],
  [7, "Linux"],
  [8, "APad"],
  [9, "IPad"],
  [10, "Admin"],
  [11, "HarmonyOS"],
]);

/** The platform of a token that names none, which may be used on any. */
export const anyPlatform = 0;

/** The platform of admin tokens. */
export const adminPlatform = 10;

/** OpenIM's platform of a browser. */
export const webPlatform = 5;

/** Every platformID, without {@link anyPlatform}. */
export const platformIds: readonly number[] = [...platformNames.keys()];

/** The name of a platform; undefined for one that OpenIM does not know, and for {@link anyPlatform}. */
export function platformName(id: number): string | undefined {
  return platformNames.get(id);
}

/**
 * Returns `id` if it is a platform.
 *
 * @throws ArgsError (1001)
 */
export function requirePlatform(id: number): number {
  if (!platformNames.has(id)) throw wrongField("platformID", `platformID must be 1 to ${platformNames.size}`);
  return id;
}
