// What the scripts share: settings from the environment, the addresses, and a publisher that keeps its schedule.
import http from 'k6/http';
import { check, sleep } from 'k6';
import exec from 'k6/execution';

/** A whole number from the environment, within bounds. */
export function whole(name, otherwise, least, most) {
  const text = __ENV[name] || String(otherwise);
  const number = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (!(number >= least && number <= most)) {
    exec.test.abort(`${name}=${text} is no whole number from ${least} to ${most}`);
  }
  return number;
}

function address(name, otherwise) {
  const url = (__ENV[name] || otherwise).replace(/\/$/, '');
  const here = /^http:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?(\/|$)/.test(url);
  if (!here && __ENV.ALLOW_REMOTE !== '1') {
    exec.test.abort(`${name}=${url} is no http:// address of this machine; ALLOW_REMOTE=1 drives others`);
  }
  return url;
}

// Where streams are served, and where events are published.
const base = address('BASE', 'http://127.0.0.1:8080');
const control = address('CONTROL', 'http://127.0.0.1:8081');

/** How long anything may take beyond what it should, in seconds. */
export const PATIENCE = 30;

export function subscribeUrl(topic, query) {
  return `${base}/events/${topic}?${query}`;
}

/** Ends the run at once, with one line, where a request is not answered 200: there is nothing to measure then. */
export function answered(response, what) {
  const found = response.error || `status ${response.status}`;
  if (!check(response, { answered: (r) => r.status === 200 })) exec.test.abort(`${what} failed: ${found}`);
}

/** Publishes one event that is kept, and answers its id. */
export function publish(topic, data) {
  const response = http.post(`${control}/events/${topic}`, data, { timeout: '10s', tags: { name: 'publish' } });
  answered(response, `publishing on ${control}`);
  return response.json('id');
}

/** A new topic with an event of the number 0, which was also read: so much works. And that event's id. */
export function begin() {
  const topic = __ENV.TOPIC || `loadtest/k6/${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  const first = publish(topic, payload(0));
  const came = read(topic, `max_events=1&last_event_id=earliest`, 10, 'first');
  if (came.join() !== '0') exec.test.abort(`the first stream brought the events [${came}], not [0]`);
  return { topic, first };
}

/** Reads a stream that ends by itself, and answers the numbers of its events in the order in which they came. */
export function read(topic, query, seconds, name) {
  const params = { timeout: `${seconds}s`, responseType: 'text', tags: { name } };
  const response = http.get(subscribeUrl(topic, query), params);
  answered(response, `a stream from ${base}`);
  const data = String(response.body).split('\n').filter((line) => line.startsWith('data: '));
  return data.map((line) => numberOf(line.slice(6)));
}

/** Publishes the numbers from 1 to `events`, each when it is due, however long those before it took. */
export function publishNumbers(topic, events, perSecond) {
  const began = Date.now();
  for (let number = 1; number <= events; number++) {
    const wait = began + ((number - 1) * 1000) / perSecond - Date.now();
    if (wait > 0) sleep(wait / 1000);
    publish(topic, payload(number));
  }
}

/** 100 bytes that begin with the number. */
export function payload(number) {
  return `${number} `.padEnd(100, 'x');
}

/** A payload's number; NaN if it is none of ours. */
export function numberOf(data) {
  const found = /^(\d+) x+$/.exec(data);
  return found && data.length === 100 ? Number(found[1]) : NaN;
}
