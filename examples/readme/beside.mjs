import { once } from 'node:events'
import { createServer } from 'node:http'
import express from 'express'
import { createNameServer } from 'named-master/nameserver'

const app = express()
const server = createServer(app).listen(8002, '127.0.0.1')
await once(server, 'listening')

const nameServer = await createNameServer({ server, data: './data' })
app.use(nameServer.handler)
app.get('/', (request, response) => response.send('An application of yours'))
console.log(nameServer.url)
