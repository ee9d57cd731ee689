import { expect, test } from "vitest";
import { platformIds, platformName, requirePlatform } from "../../src/auth/platform.ts";
import { toErrorFacts } from "../../src/errors.ts";

test("the platforms are OpenIM's", () => {
  expect(platformIds.map((id) => `${id} ${platformName(id)}`).join(", ")).toBe(
    "1 iOS, 2 Android, 3 Windows, 4 OSX, 5 Web, 6 MiniWeb, 7 Linux, 8 APad, 9 IPad, 10 Admin, 11 HarmonyOS",
  );
  expect(platformIds.map(requirePlatform)).toEqual(platformIds);
});

test.each([0, 12, -1, 1.5, Number.NaN])("%d is no platform", (id) => {
  expect(platformName(id)).toBeUndefined();
  let thrown: unknown;
  try {
    requirePlatform(id);
  } catch (error) {
    thrown = error;
  }
  expect(toErrorFacts(thrown)).toMatchObject({ errCode: 1001, errDlt: "platformID must be 1 to 11" });
});
