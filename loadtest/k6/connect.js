// How fast streams open, and whether streams that run side by side come whole.
//
// `connects`: a ramp to RATE connects a second in RAMP seconds, then HOLD seconds at it. Each stream asks for one
// event that is there already, gets it and ends, so that nothing but the gateway is waited for.
// `streams`: STREAMS streams for EVENTS events each, published meanwhile at PUBLISH_RATE a second.
import { check } from 'k6';
import { Counter } from 'k6/metrics';
import * as lib from './lib.js';

const RATE = lib.whole('RATE', 500, 1, 20000);
const RAMP = lib.whole('RAMP', 5, 1, 600);
const HOLD = lib.whole('HOLD', 5, 1, 600);
const STREAMS = lib.whole('STREAMS', 200, 1, 5000);
const EVENTS = lib.whole('EVENTS', 50, 1, 10000);
const PUBLISH_RATE = lib.whole('PUBLISH_RATE', 10, 1, 1000);
const P99 = lib.whole('P99', 500, 1, 60000);

const connects = Math.floor(RATE * (RAMP / 2 + HOLD));
const seconds = Math.ceil(EVENTS / PUBLISH_RATE) + lib.PATIENCE;
const streamsWhole = new Counter('streams_whole');

export const options = {
  noConnectionReuse: true,
  scenarios: {
    connects: {
      executor: 'ramping-arrival-rate',
      exec: 'connect',
      stages: [{ target: RATE, duration: `${RAMP}s` }, { target: RATE, duration: `${HOLD}s` }],
      preAllocatedVUs: 200,
      gracefulStop: `${lib.PATIENCE}s`,
    },
    streams: {
      executor: 'per-vu-iterations',
      exec: 'stream',
      vus: STREAMS,
      startTime: `${RAMP + HOLD}s`,
      maxDuration: `${seconds + 5}s`,
    },
    publisher: {
      executor: 'per-vu-iterations',
      exec: 'publisher',
      startTime: `${RAMP + HOLD + 1}s`,
      maxDuration: `${seconds}s`,
    },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    // From the request to the response's head.
    'http_req_waiting{scenario:connects}': [`p(99)<${P99}`],
    // k6 starts what it has a VU for: a gateway that is too slow shows here.
    dropped_iterations: [`count<=${Math.floor(connects / 100)}`],
    'http_reqs{scenario:connects}': [`count>=${Math.floor(connects * 0.98)}`],
    streams_whole: [`count==${STREAMS}`],
  },
};

export const setup = lib.begin;

export function connect({ topic }) {
  const came = lib.read(topic, 'max_events=1&last_event_id=earliest', 10, 'connect');
  check(came, { 'one event, then the end': (numbers) => numbers.join() === '0' });
}

export function stream({ topic, first }) {
  // After the first event: whoever opens late is sent what was published before.
  const came = lib.read(topic, `max_events=${EVENTS}&last_event_id=${first}`, seconds, 'stream');
  const whole = came.length === EVENTS && came.every((number, i) => number === i + 1);
  check(whole, { 'every event, in order': (is) => is });
  if (whole) streamsWhole.add(1);
}

export function publisher({ topic }) {
  lib.publishNumbers(topic, EVENTS, PUBLISH_RATE);
}
