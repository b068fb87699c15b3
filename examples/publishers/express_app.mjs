// Express: a route that changes something, and tells everybody. Needs publish.mjs beside it.
//
//   npm install express
//   node examples/publishers/express_app.mjs, then: curl -X POST http://127.0.0.1:5000/orders/17/paid
import express from 'express'
import { publish } from './publish.mjs'

const app = express()

app.post('/orders/:order/paid', async (request, response) => {
  // First the database, then the event: whoever gets the event can read what it is about.
  response.json({ id: await publish(`orders/${request.params.order}`, JSON.stringify({ state: 'paid' })) })
})

app.listen(process.env.PORT ?? 5000, '127.0.0.1')
