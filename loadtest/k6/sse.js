// STREAMS streams, one VU each, that look at every event as it comes: EVENTS numbered events are published at
// PUBLISH_RATE a second; halfway through, each stream closes its connection, stays away for AWAY ms, and comes back
// with the last id it saw. Every stream must end up with every number once and in order, under ids that grow.
//
// Needs a k6 with the extension xk6-sse built in: README.md here tells how to build one.
import sse from 'k6/x/sse';
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import * as lib from './lib.js';

const STREAMS = lib.whole('STREAMS', 1000, 1, 10000);
const EVENTS = lib.whole('EVENTS', 100, 2, 10000);
const PUBLISH_RATE = lib.whole('PUBLISH_RATE', 5, 1, 1000);
const START = lib.whole('START', 5, 0, 600);
const AWAY = lib.whole('AWAY', 1000, 0, 60000);

const seconds = START + Math.ceil(EVENTS / PUBLISH_RATE + AWAY / 1000) + lib.PATIENCE;
const streamsWhole = new Counter('streams_whole');
const received = new Counter('events_received');
const lost = new Counter('events_lost');
const doubled = new Counter('events_doubled');
const foreign = new Counter('events_foreign');
const idsNotGrowing = new Counter('ids_not_growing');
const openedIn = new Trend('stream_opened_in', true);

export const options = {
  scenarios: {
    streams: { executor: 'per-vu-iterations', exec: 'stream', vus: STREAMS, maxDuration: `${seconds + 5}s` },
    publisher: { executor: 'per-vu-iterations', exec: 'publisher', startTime: `${START}s`, maxDuration: `${seconds}s` },
  },
  thresholds: {
    checks: ['rate==1'],
    streams_whole: [`count==${STREAMS}`],
    events_received: [`count==${STREAMS * EVENTS}`],
    events_lost: ['count==0'],
    events_doubled: ['count==0'],
    events_foreign: ['count==0'],
    ids_not_growing: ['count==0'],
  },
};

export const setup = lib.begin;

/** Reads on after the last id until `enough` numbers have come. Answers whether they have. */
function readOn(topic, seen, enough) {
  const asked = Date.now();
  const params = { headers: { 'Last-Event-ID': seen.id }, timeout: `${seconds}s` };
  let closed = false;
  const response = sse.open(lib.subscribeUrl(topic, ''), params, (client) => {
    const close = () => {
      closed = true;
      client.close();
    };
    client.on('open', () => openedIn.add(Date.now() - asked));
    client.on('error', close);
    client.on('event', (event) => {
      // A comment comes as an event without an id. What was read ahead of a close comes again after it.
      if (closed || event.id === '') return;
      take(event, seen);
      if (seen.number >= enough) close();
    });
  });
  lib.answered(response, 'a stream');
  return check(seen.number >= enough, { 'the stream lasted': (is) => is });
}

/** Counts an event, and what is wrong with it. */
function take(event, seen) {
  const number = event.name === '' ? lib.numberOf(event.data) : NaN;
  received.add(1);
  seen.events += 1;
  // The gateway's ids are an epoch and a count, padded: within a run they grow as texts.
  const grows = event.id > seen.id;
  seen.id = event.id;
  if (!grows) idsNotGrowing.add(1);
  if (!(number >= 1 && number <= EVENTS)) {
    // A `gap` is one of these, too: nothing may be gone.
    foreign.add(1);
  } else if (number <= seen.number) {
    doubled.add(1);
  } else {
    if (number === seen.number + 1 && grows) seen.right += 1;
    lost.add(number - seen.number - 1);
    seen.number = number;
  }
}

export function stream({ topic, first }) {
  const seen = { id: first, number: 0, events: 0, right: 0 };
  if (!readOn(topic, seen, Math.ceil(EVENTS / 2))) return;
  sleep(AWAY / 1000);
  if (!readOn(topic, seen, EVENTS)) return;
  const whole = seen.right === EVENTS && seen.events === EVENTS;
  if (check(whole, { 'every event once, in order': (is) => is })) streamsWhole.add(1);
}

export function publisher({ topic }) {
  lib.publishNumbers(topic, EVENTS, PUBLISH_RATE);
}
