// SSE by hand: Node's http module and one write a response. `node node.mjs 127.0.0.1:8080`
import { createServer } from 'node:http'

const [host, port] = process.argv[2].split(':')
const streams = new Set()
let last = 0

const server = createServer((request, response) => {
  if (request.method === 'POST') {
    let data = ''
    request.setEncoding('utf8')
    request.on('data', piece => { data += piece })
    request.on('end', () => {
      const frame = `id: ${++last}\ndata: ${data.replaceAll(/\r\n?|\n/g, '\ndata: ')}\n\n`
      for (const stream of streams) stream.write(frame)
      response.writeHead(204).end()
    })
    return
  }
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  response.write(':\n\n')
  streams.add(response)
  response.on('close', () => streams.delete(response))
})

setInterval(() => { for (const stream of streams) stream.write(':\n\n') }, 15_000)
server.keepAliveTimeout = 65_000
server.listen({ host, port, backlog: 4096 })
