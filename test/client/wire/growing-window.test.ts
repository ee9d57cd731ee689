import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { createGrowingWindow } from "../../../src/client/wire/growing-window.ts";
import { SubscribeResponseSchema } from "../../../src/gen/mustreach/delivery/v1/delivery_pb.ts";

function setUp() {
  const changes: number[] = [];
  const clock = { ms: 0 };
  const window = createGrowingWindow(
    (to) => changes.push(to),
    () => clock.ms,
  );
  let last = 0n;
  const come = (count: number, data = "{}") => {
    for (let i = 0; i < count; i++) {
      const value = { sequence: ++last, data };
      window.came(create(SubscribeResponseSchema, { event: { case: "notification", value } }));
    }
  };
  const handleAll = () => window.acknowledged(last);
  return { changes, clock, window, come, handleAll };
}

test("four times as many when all of it is handled within a second, up to 1,000", () => {
  const { changes, clock, come, handleAll } = setUp();
  for (const count of [63, 1, 255, 1, 1_000]) {
    come(count);
    handleAll();
    clock.ms += 100;
  }
  expect(changes).toEqual([256, 1_000]);
});

test("stays for listeners that take longer", () => {
  const { changes, clock, come, handleAll } = setUp();
  for (let i = 0; i < 20; i++) {
    come(20);
    handleAll();
    clock.ms += 600;
  }
  expect(changes).toEqual([]);
});

test("counts what is acknowledged, and nothing that has no place", () => {
  const { changes, window, come } = setUp();
  come(64);
  const pushed = create(SubscribeResponseSchema, { event: { case: "notification", value: { data: "pushed" } } });
  for (let i = 0; i < 100; i++) window.came(pushed);
  window.acknowledged(63n);
  expect(changes).toEqual([]);
  window.acknowledged(64n);
  expect(changes).toEqual([256]);
});

test("is the first again when more than 4 Mi characters wait, and does not grow for large ones", () => {
  const { changes, clock, come, handleAll } = setUp();
  come(64);
  handleAll();
  come(40, "x".repeat(102_400));
  expect(changes).toEqual([256]);
  come(1, "x".repeat(102_400));
  expect(changes).toEqual([256, 64]);
  clock.ms += 5_000;
  handleAll();
  come(64, "x".repeat(50_000));
  handleAll();
  expect(changes).toEqual([256, 64]);
});
