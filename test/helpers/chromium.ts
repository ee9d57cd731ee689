import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Chromium or Chrome of the machine: the tests do not fetch one. */
export function findChromium(): string {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  const places = (process.env.PATH ?? "").split(delimiter).flatMap((dir) => names.map((name) => join(dir, name)));
  places.push("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (found !== undefined) return found;
  throw new Error(`this test needs ${names.join(" or ")} on PATH: on Debian, apt-get install chromium`);
}
