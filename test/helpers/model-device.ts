import { setTimeout as delay } from "node:timers/promises";
import type { DeviceEvent, DeviceSession, openDevice } from "./device.ts";
