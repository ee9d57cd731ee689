import { createEngine } from "../../../src/http2/engine/engine.ts";
import { testExchanges } from "../../helpers/exchange-suite.ts";

testExchanges(createEngine);
