// Reads a stream with fetch, so that headers can be sent, which EventSource cannot do. Browsers, and Node 18 or newer:
//
//   node examples/clients/fetch.mjs http://127.0.0.1:8080/events/prices/eur

/** The events of a stream. It reconnects, and resumes after the event that it saw last. */
export async function* events(url, headers = {}) {
  let id = ''
  let retry = 3000
  for (;;) {
    try {
      const resume = id ? { 'last-event-id': id } : {}
      const response = await fetch(url, { headers: { accept: 'text/event-stream', ...resume, ...headers } })
      if (response.status === 200) {
        for await (const event of parse(response.body)) {
          id = event.id ?? id
          retry = event.retry ?? retry
          if (event.data !== undefined) yield { type: event.type ?? 'message', data: event.data, id }
        }
      } else if (response.status < 500) {
        throw Object.assign(new Error(`${response.status}: ${await response.text()}`), { final: true })
      }
    } catch (error) {
      if (error.final) throw error
    }
    await new Promise(resolve => setTimeout(resolve, retry))
  }
}

async function* parse(body) {
  let rest = ''
  let event = {}
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line)
      if (line === '') {
        yield event
        event = {}
      } else if (field === 'data') event.data = event.data === undefined ? value : `${event.data}\n${value}`
      else if (field === 'event') event.type = value
      else if (field === 'id') event.id = value
      else if (field === 'retry') event.retry = Number(value)
    }
  }
}

if (globalThis.process?.argv[2]) {
  for await (const event of events(process.argv[2])) {
    // On a gap, fetch the current state.
    console.log(event.type === 'gap' ? `gap: ${JSON.parse(event.data).reason}` : event.data)
  }
}
