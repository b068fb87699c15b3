// RATE events a second for DURATION seconds, each a POST of its own, whether or not those before have been answered.
import { check } from 'k6';
import * as lib from './lib.js';

const RATE = lib.whole('RATE', 500, 1, 20000);
const DURATION = lib.whole('DURATION', 10, 1, 3600);
const P99 = lib.whole('P99', 250, 1, 60000);

const events = RATE * DURATION;

export const options = {
  scenarios: {
    publish: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      duration: `${DURATION}s`,
      // Requests under way at once; the control listener takes 128 connections.
      preAllocatedVUs: 100,
      gracefulStop: `${lib.PATIENCE}s`,
    },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    'http_req_duration{scenario:publish}': [`p(99)<${P99}`],
    // k6 posts what it has a VU for: a gateway that is too slow shows here.
    dropped_iterations: [`count<=${Math.floor(events / 100)}`],
    'http_reqs{scenario:publish}': [`count>=${Math.floor(events * 0.98)}`],
  },
};

export const setup = lib.begin;

export default function ({ topic }) {
  check(lib.publish(topic, lib.payload(1)), { 'the answer has an id': Boolean });
}
