/** Bounds what is in flight, by how long it takes. */
export interface LatencyLimit {
  /** How much may be in flight now. */
  readonly current: number;
  /** How many times longer than usual one is to wait that is refused now: 1, and more while a crowd lasts. */
  readonly patience: number;
  /** When one began and ended, in milliseconds; `inFlight` is what there was when it began, itself included. */
  observe(startedMs: number, endedMs: number, inFlight: number): void;
  /** One was refused for want of room. */
  refuse(): void;
}

/** The limit does not fall below this, with which the most is done in a second. */
export const minLimit = 320;

/**
 * Nor, while more is wanted than there is room for at all, below this: the broker's batches are full enough to pay, and what
 * is let in has a quarter of the wait.
 */
export const minCrowdedLimit = 80;

/** Refused for each that was done, from which on more is wanted than there is room for. A few who come again are no crowd. */
const crowd = 1 / 8;

/**
 * While a crowd lasts, who is refused waits this many times longer with each such time, up to this many times in all; then
 * as much less. It takes some seconds, in which those who were told to wait come back, to know how large it is. Of 2,560 in
 * flight 2,438 a second were refused without it, and 1,954 let in; with it, 402 and 2,353 (`bench:overload`).
 */
const patienceStep = 1.05;
const maxPatience = 8;

/** What was observed is judged when it has lasted this long, in milliseconds, and is this many. */
const windowMs = 100;
const minSamples = 20;

/** It begins here; it is raised to this in small steps, and above it only while more is wanted. */
const startLimit = 1_024;

/** What it rises by in each such time, and, while at least half of it is in use, by this part of itself. */
const step = 16;
const rise = 1 / 8;

/** It falls to half at most at a time. */
const maxFall = 0.5;

/** With no more than this in flight all the time there is nothing to wait for but the broker. */
const maxUnloaded = 4;

/** What the newest mean of such a time weighs in theirs. */
const unloadedWeight = 0.2;

/** The mean under load may be this many times the unloaded one: about where the slowest hundredth of those is. */
const tolerance = 4;

/** The mean that is put up with, in milliseconds, at least and at most, however fast or slow the broker is unloaded. */
const minTargetMs = 10;
const maxTargetMs = 1_000;

/**
 * Creates a limit that rises by addition while the mean time is good, and falls by multiplication while it is not (AIMD,
 * with TCP's lesson: many who share a thing find their share so). It falls from what is in flight, by as much as the mean
 * is above the target.
 *
 * @param max a limit at or below {@link minLimit} stays what it is.
 */
export function createLatencyLimit(max: number): LatencyLimit {
  const start = Math.min(startLimit, max);
  let current = start;
  let patience = 1;
  let unloadedMs = minTargetMs / tolerance;
  let sinceMs = performance.now();
  let samples = 0;
  let refused = 0;
  let totalMs = 0;
  let peak = 0;

  const judge = (nowMs: number): void => {
    const meanMs = totalMs / samples;
    // Of the whole time: the first to begin after a batch find nobody, and share the next one with all who come then.
    if (peak <= maxUnloaded) unloadedMs += (meanMs - unloadedMs) * unloadedWeight;
    const targetMs = Math.min(maxTargetMs, Math.max(minTargetMs, tolerance * unloadedMs));
    const isCrowd = refused >= crowd * samples;
    patience = isCrowd ? Math.min(maxPatience, patience * patienceStep) : Math.max(1, patience / patienceStep);
    // It is still there when those who wait are so patient that few are refused.
    const min = Math.min(patience > 1 ? minCrowdedLimit : minLimit, max);
    const steps = step * Math.floor((nowMs - sinceMs) / windowMs);
    if (meanMs > targetMs) {
      // No slowness with less in flight is of its making.
      if (peak > min) {
        current = Math.max(min, Math.floor(Math.min(current, peak) * Math.max(maxFall, targetMs / meanMs)));
      } else if (current < min) {
        current = Math.min(min, current + steps);
      }
    } else if (2 * peak >= current) {
      current = Math.min(max, current + Math.max(step, Math.floor(current * rise)));
    } else if (current < start) {
      current = Math.min(start, current + steps);
    }
    sinceMs = nowMs;
    samples = 0;
    refused = 0;
    totalMs = 0;
    peak = 0;
  };

  return {
    get current() {
      return current;
    },
    get patience() {
      return patience;
    },
    observe(startedMs, endedMs, inFlight) {
      const ms = endedMs - startedMs;
      samples++;
      totalMs += ms;
      if (inFlight > peak) peak = inFlight;
      if (samples >= minSamples && endedMs - sinceMs >= windowMs) judge(endedMs);
    },
    refuse() {
      refused++;
    },
  };
}
