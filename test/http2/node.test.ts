import { createNodeHttp2 } from "../../src/http2/node.ts";
import { testExchanges } from "../helpers/exchange-suite.ts";

testExchanges(createNodeHttp2);
