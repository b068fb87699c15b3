import { EventSource } from "eventsource";

import { report } from "./report.js";

report(EventSource);
