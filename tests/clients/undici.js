import { EventSource } from "undici";

import { report } from "./report.js";

report(EventSource);
