// Publishes an event, and repeats that until there is an answer: with its key the event counts once. Node 18 or newer:
//
//   node examples/publishers/publish.mjs prices/eur 1.0823
import { randomUUID } from 'node:crypto'

const control = process.env.SLUICEGATE_CONTROL ?? 'http://127.0.0.1:8081'

export async function publish(topic, data, { attempts = 5 } = {}) {
  const headers = { 'idempotency-key': randomUUID() }
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(`${control}/events/${encodeURIComponent(topic)}`, { method: 'POST', body: data, headers })
      if (response.ok) return (await response.json()).id
      const problem = await response.json()
      // What the gateway cannot do now, it may be able to do soon; what it does not understand, it never will.
      if (response.status !== 503 || attempt === attempts) throw Object.assign(new Error(problem.detail), { final: true })
    } catch (error) {
      if (error.final || attempt === attempts) throw error
    }
    await new Promise(resolve => setTimeout(resolve, 200 * 2 ** attempt))
  }
}

if (process.argv[1] === import.meta.filename || process.argv[1]?.endsWith('publish.mjs')) {
  console.log(await publish(process.argv[2], process.argv[3]))
}
