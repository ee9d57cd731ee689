import type { CreateReceiving } from "./wire/delivery.ts";

/** A browser's fetch has no streams of both directions. */
export const createReceiving: CreateReceiving | undefined = undefined;
