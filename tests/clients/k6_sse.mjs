// What loadtest/k6/sse.js makes of streams that are right and of such as a gateway should never send, with k6's modules
// replaced: a k6 with xk6-sse has to be built, and no gateway that is at hand lies.
import assert from 'node:assert/strict';
import { register } from 'node:module';

const STREAMS = 2;
const EVENTS = 6;

// ===== k6, as far as the script uses it =====

const hooks = `
const modules = {
  'k6': 'export const check = k6.check, sleep = () => {};',
  'k6/http': 'export default {};',
  'k6/execution': 'export default { test: { abort(why) { throw new Error(why); } } };',
  'k6/metrics': 'export const Counter = k6.Metric, Trend = k6.Metric;',
  'k6/x/sse': 'export default { open: k6.open };',
};
export function resolve(name, context, next) {
  return name in modules ? { url: 'k6:' + name, format: 'module', shortCircuit: true } : next(name, context);
}
export function load(url, context, next) {
  const source = modules[url.slice(3)];
  if (url.startsWith('k6:')) return { format: 'module', source, shortCircuit: true };
  return next(url, { ...context, format: url.includes('/loadtest/k6/') ? 'module' : context.format });
}`;

/** Of the run: every metric's sum, and the checks that passed and failed. */
let sums;
let checks;
/** What the streams to come bring, in the order in which they are opened. */
let coming;

globalThis.__ENV = { STREAMS: String(STREAMS), EVENTS: String(EVENTS) };
globalThis.k6 = {
  Metric: class {
    constructor(name) {
      this.add = (value) => (sums[name] = (sums[name] ?? 0) + value);
    }
  },
  check(value, named) {
    const passed = Object.values(named).every((holds) => holds(value));
    checks[passed ? 'passed' : 'failed'] += 1;
    return passed;
  },
  open(url, { headers }, setUp) {
    const { after, events, status = 200 } = coming.shift();
    assert.equal(headers['Last-Event-ID'], after);
    const handlers = {};
    // A closed stream still brings what was read ahead.
    setUp({ on: (kind, handler) => (handlers[kind] = handler), close() {} });
    handlers.open();
    for (const event of events) handlers.event(event);
    return { status };
  },
};
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
const { stream, options } = await import('../../loadtest/k6/sse.js');

/** The thresholds that a run of these streams crosses, all in one VU after the other. */
function crossed(...streams) {
  sums = {};
  checks = { passed: 0, failed: 0 };
  for (const legs of streams) {
    coming = legs;
    stream({ topic: 't', first: 'e-0' });
  }
  const found = (metric) => (metric === 'checks' ? checks.passed / (checks.passed + checks.failed) : sums[metric] ?? 0);
  const expected = (rule) => Number(/^(?:rate|count)==(\d+)$/.exec(rule)[1]);
  const broken = ([metric, rules]) => rules.some((rule) => found(metric) !== expected(rule));
  return Object.entries(options.thresholds).filter(broken).map(([metric]) => metric).sort();
}

// ===== streams =====

const comment = { id: '', name: '', data: '' };
const event = (number, id = number) => ({ id: `e-${id}`, name: '', data: `${number} `.padEnd(100, 'x') });
/** A stream's two connections: the script closes the first after three events. */
const legs = (first, second) => [{ after: 'e-0', events: first }, { after: 'e-3', events: second }];
const right = () => legs([comment, event(1), event(2), event(3), event(4)], [comment, event(4), event(5), event(6)]);
const gap = { id: 'e-4', name: 'gap', data: '{}' };
const half = [event(1), event(2), event(3)];
const rest = [event(4), event(5), event(6)];

assert.deepEqual(crossed(right(), right()), []);
/** Beside a stream that is right, one of these two connections crosses these thresholds. */
const bad = (first, second, ...thresholds) =>
  assert.deepEqual(crossed(right(), legs(first, second)), ['checks', 'streams_whole', ...thresholds].sort());
// Lost: in a connection, or over the reconnect.
bad([event(1), event(3)], rest, 'events_lost', 'events_received');
bad(half, rest.slice(1), 'events_lost', 'events_received');
// Twice.
const twice = ['events_doubled', 'events_received', 'ids_not_growing'];
bad([event(1), event(1), event(2), event(3)], rest, ...twice);
bad(half, [event(3), ...rest], ...twice);
// Out of order.
bad([event(2), event(1), event(3)], rest, 'events_doubled', 'events_lost', 'ids_not_growing');
bad([event(1), event(2, 4), event(3, 3)], rest, 'ids_not_growing');
// A gap, another's event, a byte that is wrong.
bad(half, [gap, ...rest.slice(1)], 'events_foreign', 'events_lost');
bad(half, [event(4), event(5), event(7), event(6, 8)], 'events_foreign', 'events_received');
bad([{ ...event(1), data: `1 ${'y'.repeat(98)}` }, event(2), event(3)], rest, 'events_foreign', 'events_lost');
// It ends too soon, on either connection; the second is not opened after that.
bad([event(1)], [], 'events_received');
bad(half, [event(4)], 'events_received');
// Nothing came at all.
assert.deepEqual(crossed(), ['checks', 'events_received', 'streams_whole']);
// It is refused: the run ends.
assert.throws(() => crossed([{ after: 'e-0', events: [], status: 404 }]), /a stream failed: status 404/);
