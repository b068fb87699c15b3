// What all clients in Node do: subscribe with this class, print every event as a line of JSON, and end after
// the last one that was asked for. `node CLIENT.js URL COUNT`; types other than `message`: `tick` and `gap`.

export function report(EventSource) {
  const [url, count] = process.argv.slice(2);
  let left = Number(count);
  const source = new EventSource(url);
  // A client's wait before it comes back need not keep the process alive.
  const alive = setInterval(() => {}, 1000);
  const print = (event) => {
    if (left === 0) return;
    console.log(JSON.stringify({ type: event.type, id: event.lastEventId, data: event.data }));
    left -= 1;
    if (left === 0) {
      clearInterval(alive);
      source.close();
    }
  };
  for (const type of ["message", "tick", "gap"]) source.addEventListener(type, print);
  source.addEventListener("open", () => console.log(JSON.stringify({ type: "open" })));
  source.addEventListener("error", () => {
    if (left > 0 && source.readyState === EventSource.CLOSED) {
      console.error("the client gave up");
      process.exit(1);
    }
  });
}
