// STREAMS streams held open for HOLD seconds: 100 of them a VU, each a `http.asyncRequest`, which takes k6 half the
// memory of a VU each. A stream counts as held if the gateway ended it when it should, neither before nor long after.
// Events go by meanwhile, PUBLISH_RATE a second, and are not looked at.
import http from 'k6/http';
import { check } from 'k6';
import { scenario } from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
import * as lib from './lib.js';

const STREAMS = lib.whole('STREAMS', 1000, 1, 18000);
const HOLD = lib.whole('HOLD', 10, 2, 3600);
const PUBLISH_RATE = lib.whole('PUBLISH_RATE', 1, 1, 1000);
const P99 = lib.whole('P99', 2000, 1, 60000);

const A_VU = 100;
const vus = Math.ceil(STREAMS / A_VU);
const maxDuration = `${HOLD + lib.PATIENCE}s`;
const streamsHeld = new Counter('streams_held');
const heldFor = new Trend('stream_held_for', true);

export const options = {
  scenarios: {
    hold: { executor: 'per-vu-iterations', exec: 'hold', vus, maxDuration },
    publisher: { executor: 'per-vu-iterations', exec: 'publisher', maxDuration },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    // From the request to the response's head, when all ask at once.
    'http_req_waiting{scenario:hold}': [`p(99)<${P99}`],
    streams_held: [`count==${STREAMS}`],
  },
};

export const setup = lib.begin;

async function holdOne(url) {
  const response = await http.asyncRequest('GET', url, null, {
    timeout: maxDuration,
    responseType: 'none',
    tags: { name: 'hold' },
  });
  lib.answered(response, 'a stream');
  // From the head to the end of the body, in ms.
  const time = response.timings.receiving;
  heldFor.add(time);
  const held = time >= HOLD * 1000 - 500 && time <= HOLD * 1000 + 5000;
  check(held, { 'held to the end': (is) => is });
  if (held) streamsHeld.add(1);
}

export async function hold({ topic }) {
  const url = lib.subscribeUrl(topic, `max_seconds=${HOLD}`);
  // The last one takes what is left.
  const own = Math.min(A_VU, STREAMS - scenario.iterationInTest * A_VU);
  await Promise.all(Array.from({ length: own }, () => holdOne(url)));
}

export function publisher({ topic }) {
  lib.publishNumbers(topic, HOLD * PUBLISH_RATE, PUBLISH_RATE);
}
