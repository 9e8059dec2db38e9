/**
 * From a name to the first state: what passes between a slave and the name server, counted, and how often the slave waits
 * for it. Between the two stands a proxy that counts Socket.IO's packets and can delay them; the round trips are what the
 * delay adds to the time, divided by it.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { WebSocket, WebSocketServer } from 'ws'
import { createStore } from 'named-master'
import { connect, nameServer, newSlave, startMaster } from '../contenders/product.mjs'

/** One way, in milliseconds: far more than everything else takes. */
const DELAY_MS = 200

let delayMs = 0
let packets = []

/** After the delay, in order. */
const later = (act) => void setTimeout(act, delayMs)

/** What Engine.IO says to itself: opening, closing, heartbeats. The rest are Socket.IO's packets. */
const isHeartbeat = (text) => text === '2' || text === '3'

function join(client, target, path) {
  const server = new WebSocket(`${target}${path}`)
  const pass = (from, to, way) =>
    from.on('message', (data, binary) => {
      const text = binary ? '' : data.toString()
      if (isHeartbeat(text)) return void to.send(text)
      const arrived = performance.now()
      later(() => {
        packets.push({ way, text, arrived, passed: performance.now() })
        to.send(text)
      })
    })
  pass(client, server, 'up')
  pass(server, client, 'down')
  client.on('close', () => server.close())
  server.on('close', () => client.close())
}

export const processes = {
  nameServer,
  proxy: {
    async open(url) {
      const target = url.replace(/^http/, 'ws')
      const http = createServer().listen(0, '127.0.0.1')
      await once(http, 'listening')
      const sockets = new WebSocketServer({ noServer: true })
      http.on('upgrade', (request, socket, head) => {
        // The request of the handshake and its answer are a round trip too.
        setTimeout(() => {
          sockets.handleUpgrade(request, socket, head, (client) => join(client, target, request.url))
        }, 2 * delayMs)
      })
      return `http://127.0.0.1:${http.address().port}`
    },
    begin(milliseconds) {
      delayMs = milliseconds
      packets = []
    },
    packets: () => packets,
  },
  master: {
    serve: async (url) => void (await startMaster(url, 'bench', createStore({ title: 'A small state' }))),
  },
  slave: {
    async join(url) {
      const slave = newSlave(url)
      const began = performance.now()
      await connect(slave, 'bench')
      const milliseconds = performance.now() - began
      void slave.disconnect()
      return milliseconds
    },
  },
}

export async function run(bench) {
  const url = await bench.start('nameServer').ask('open')
  await bench.start('master').ask('serve', url)
  const proxy = bench.start('proxy')
  const slave = bench.start('slave')
  const proxyUrl = await proxy.ask('open', url)
  const join = async (delay) => {
    await proxy.ask('begin', delay)
    const milliseconds = await slave.ask('join', proxyUrl)
    return { milliseconds, packets: await proxy.ask('packets') }
  }
  const measured = await bench.interleave(bench.size(3, 9), {
    'named-master': async () => {
      const near = await join(0)
      const far = await join(DELAY_MS)
      // A message that nobody answers is half of one.
      const trips = (milliseconds) => Math.round(milliseconds / DELAY_MS) / 2
      const named = far.packets.filter(({ text }) => text.startsWith('42') || text.startsWith('43'))
      return {
        milliseconds: near.milliseconds,
        trips: trips(far.milliseconds - near.milliseconds),
        introduction: trips(introductionOf(far.packets)),
        up: named.filter(({ way }) => way === 'up').length,
        down: named.filter(({ way }) => way === 'down').length,
        handshake: far.packets.length - named.length,
      }
    },
  })
  const measure = (what, unit, rounds, aims = []) => ({ what, unit, rounds, aims })
  return [
    measure('round trips for the introduction', '', measured.introduction, [{ of: 'named-master', atMost: 1 }]),
    measure('round trips from `connect` to the state', '', measured.trips),
    measure('messages to the name server', '', measured.up),
    measure('messages from it, acknowledgements included', '', measured.down),
    measure("packets of the socket's own handshake", '', measured.handshake),
    measure('time on one machine', 'ms', measured.milliseconds),
  ]
}

/** Milliseconds from the request, with the offer in it, to its answer. */
function introductionOf(packets) {
  const asked = packets.find(({ way, text }) => way === 'up' && text.includes('"command":"connect"'))
  const acknowledgement = `43${/^42(\d+)/.exec(asked.text)[1]}[`
  const answered = packets.find(({ way, text }) => way === 'down' && text.startsWith(acknowledgement))
  return answered.passed - asked.arrived
}
