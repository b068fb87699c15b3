// The console: what the gateway says of itself by its own streams, and requests that a person makes.
'use strict';

const SAMPLES = 120;
const WATCHED = 200;
const $ = id => document.getElementById(id);

// ===== numbers =====

const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const bytes = new Intl.NumberFormat('en', { style: 'unit', unit: 'megabyte', maximumFractionDigits: 1 });
const seconds = total => {
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const [name, size] = units.find(([, size]) => total >= size) ?? units[3];
  return `${Math.floor(total / size)} ${name}`;
};
const per = text => `${short.format(text)}/s`;

const lines = {};
const draw = (id, value) => {
  const samples = lines[id] ??= [];
  samples.push(value);
  if (samples.length > SAMPLES) samples.shift();
  const top = Math.max(...samples, 1e-9);
  const at = (v, i) => `${i + SAMPLES - samples.length},${(31 - 30 * v / top).toFixed(1)}`;
  $(`${id}-line`).firstElementChild.setAttribute('d', 'M' + samples.map(at).join('L'));
};

let before;
const stats = now => {
  $('gateway').textContent = `${now.version}, up ${seconds(now.up_seconds)}, engine ${now.engine}`;
  $('streams').textContent = short.format(now.streams);
  $('streams-max').textContent = `of ${short.format(now.streams_max)}`;
  $('behind').textContent = short.format(now.behind);
  $('retained').textContent = short.format(now.log_events);
  $('retained-bytes').textContent = `${bytes.format(now.log_bytes / 1e6)} of ${bytes.format(now.log_bytes_max / 1e6)}`;
  $('retained-part').value = Math.max(now.log_events / now.log_events_max, now.log_bytes / now.log_bytes_max);
  draw('streams', now.streams);
  draw('behind', now.behind);
  if (before && now.at_ms > before.at_ms && now.up_seconds >= before.up_seconds) {
    const time = (now.at_ms - before.at_ms) / 1000;
    const rate = key => Math.max(0, now[key] - before[key]) / time;
    const busy = Math.max(...now.busy_seconds.map((value, i) => (value - before.busy_seconds[i]) / time));
    $('deliveries').textContent = short.format(rate('deliveries'));
    $('writes').textContent = `in ${per(rate('writes'))} writes`;
    $('published').textContent = short.format(rate('published'));
    $('refused').textContent = rate('refused') ? `${per(rate('refused'))} refused` : '';
    $('opened').textContent = `${per(rate('opened'))} opened, ${per(rate('closed'))} closed`;
    $('busy').textContent = `${Math.round(100 * busy)} %`;
    $('cpu').textContent = `${rate('cpu_seconds').toFixed(2)} cores in all`;
    draw('deliveries', rate('deliveries'));
    draw('published', rate('published'));
    draw('busy', busy);
  }
  before = now;
};

// ===== tables =====

const cell = (text, number) => {
  const td = document.createElement('td');
  if (number) td.className = 'number';
  td.append(text);
  return td;
};
const row = cells => {
  const tr = document.createElement('tr');
  tr.append(...cells);
  return tr;
};

const watchButton = topic => {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'Watch';
  button.dataset.topic = topic;
  button.setAttribute('aria-label', `Watch ${topic}`);
  return button;
};

// Rows are made anew at each look: a button that has the focus must not lose it.
const fill = (body, rows) => {
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.topic : undefined;
  body.replaceChildren(...rows);
  if (focused !== undefined) [...body.querySelectorAll('button')].find(b => b.dataset.topic === focused)?.focus();
};

const topics = list => {
  fill($('topics'), list.items.filter(item => !item.topic.startsWith('$sys/')).map(item => row([
    cell(item.topic), cell(short.format(item.rate), true), cell(short.format(item.events), true), cell(watchButton(item.topic)),
  ])));
  $('topics-note').textContent = `${short.format(list.topics)} topics with events`;
};
const slow = list => {
  fill($('slow'), list.items.map(item => row([
    cell(item.peer ?? '–'), cell(short.format(item.lag), true), cell(seconds(item.age_seconds), true),
    cell([...item.topics, ...item.patterns].join(' ')),
  ])));
  $('slow-note').textContent = list.items.length ? '' : 'No stream is open.';
};
$('topics').addEventListener('click', event => {
  const topic = event.target.dataset?.topic;
  if (topic !== undefined) watch(topic);
});

// ===== the gateway's own stream =====

const own = () => {
  const source = new EventSource('/console/events?topic=$sys/stats&topic=$sys/topics&topic=$sys/streams');
  source.onopen = () => { $('connection').textContent = 'Connected'; };
  source.onerror = () => {
    const closed = source.readyState === EventSource.CLOSED;
    $('connection').textContent = closed ? 'The gateway refuses: reload this page to try again' : 'Reconnecting…';
  };
  for (const [type, show] of [['stats', stats], ['topics', topics], ['streams', slow]]) {
    source.addEventListener(type, event => show(JSON.parse(event.data)));
  }
  return source;
};
// A page that nobody sees costs nothing.
let source;
const follow = () => {
  if (document.hidden) { source?.close(); source = undefined; } else { source ??= own(); }
};
document.addEventListener('visibilitychange', follow);
follow();

// ===== watching =====

// EventSource tells only of types that it was asked for: to see all, the stream is read as it is.
const read = async (url, signal, each) => {
  const answer = await fetch(url, { headers: { accept: 'text/event-stream' }, signal });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '', event = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    // The gateway ends its lines with LF.
    const whole = (rest + value).split('\n');
    rest = whole.pop();
    for (const line of whole) {
      const [, name, text] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (line === '') { each(event); event = {}; }
      else if (name === 'data') event.data = event.data === undefined ? text : `${event.data}\n${text}`;
      else if (name === 'id' || name === 'event' || name === 'retry') event[name] = text;
    }
  }
};

let watching;
const stop = () => {
  watching?.abort();
  watching = undefined;
  $('watch-stop').disabled = true;
};
const show = event => {
  const item = document.createElement('li');
  const label = document.createElement('small');
  label.textContent = [new Date().toLocaleTimeString(), event.event, event.id].filter(Boolean).join(' ');
  item.append(label, event.data);
  $('watched').prepend(item);
  while ($('watched').children.length > WATCHED) $('watched').lastChild.remove();
};
const watch = async topic => {
  stop();
  const { signal } = watching = new AbortController();
  $('watch-topic').value = topic;
  $('watched').replaceChildren();
  $('watch-stop').disabled = false;
  $('watch-state').textContent = `Watching ${topic}`;
  const query = new URLSearchParams({ [topic.includes('*') ? 'match' : 'topic']: topic });
  let wait = 3000;
  while (!signal.aborted) {
    try {
      await read(`/console/events?${query}`, signal, event => {
        if (event.id !== undefined) query.set('last_event_id', event.id);
        if (event.retry !== undefined) wait = Number(event.retry);
        if (event.data !== undefined) show(event);
      });
    } catch (error) {
      if (signal.aborted) return;
      $('watch-state').textContent = `${topic}: ${error.message}`;
      if (!(error instanceof TypeError)) return stop();
    }
    await new Promise(done => setTimeout(done, wait));
  }
};
$('watch').addEventListener('submit', event => { event.preventDefault(); watch($('watch-topic').value.trim()); });
$('watch-stop').addEventListener('click', () => { stop(); $('watch-state').textContent = ''; });

// ===== publishing =====

$('publish').addEventListener('submit', async event => {
  event.preventDefault();
  const query = new URLSearchParams();
  if ($('publish-event').value) query.set('event', $('publish-event').value);
  if ($('publish-live').checked) query.set('keep', 'false');
  const path = $('publish-topic').value.split('/').map(encodeURIComponent).join('/');
  const state = $('publish-state');
  try {
    const answer = await fetch(`/events/${path}?${query}`, { method: 'POST', body: $('publish-data').value });
    const said = await answer.json();
    state.textContent = answer.ok ? `Published${said.id ? ` as ${said.id}` : ''}` : `Refused: ${said.detail}`;
  } catch (error) {
    state.textContent = `Not published: ${error.message}`;
  }
});

// ===== the configuration =====

$('config-details').addEventListener('toggle', async () => {
  if (!$('config-details').open) return;
  try {
    const answer = await fetch('/admin/config');
    $('config').textContent = await answer.text();
  } catch (error) {
    $('config').textContent = `Not read: ${error.message}`;
  }
});
