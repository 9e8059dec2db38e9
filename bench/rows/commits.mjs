/**
 * Commits a second from one slave, against bare messages one by one; and delivered to ten slaves, against a broadcast of
 * Socket.IO. The sender has at most two thousand changes under way, and gives way to its own sockets after each hundred.
 */
import { createStore } from 'named-master'
import { envelope } from '#src/protocol/envelope.js'
import { REMARK } from '../content.mjs'
import { connectSlave, nameServer, shows, startMaster } from '../contenders/product.mjs'
import { joinRelay, relayOf } from '../contenders/socketio.mjs'
import { BareEnd, introduce } from '../contenders/wrtc.mjs'

/** Changes made between two turns of the event loop, and between two looks at what is answered. */
const BURST = 100
const WINDOW = 1_000

const STATE = { count: 0, remark: '' }
const add = (state, { by, remark }) => ({ ...state, count: state.count + by, remark })
const CHANGE = { by: 1, remark: REMARK }
/** One change as a slave sends it. */
const MESSAGE = JSON.stringify([envelope('emit', { seq: 1000, prev: 999, event: 'add', payload: CHANGE })])

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** @param settled resolves when what was sent before is committed */
async function sendAll(count, send, settled) {
  const began = performance.now()
  let earlier = Promise.resolve()
  for (let sent = 0; sent < count; sent += WINDOW) {
    for (let burst = 0; burst < WINDOW; burst += BURST) {
      for (let i = 0; i < BURST; i++) send(sent + burst + i + 1)
      await turn()
    }
    await earlier
    earlier = settled()
  }
  await earlier
  return { rate: count / ((performance.now() - began) / 1000) }
}

let slave
let client
let total = 0
/** Of the two bare ends: one counts and confirms, the other sends. */
const sink = new BareEnd(() => {
  if (--total === 0) sink.channel.send('all')
})
let confirmed
const source = new BareEnd(() => confirmed())

export const processes = {
  nameServer,
  master: {
    async serve(url) {
      const store = createStore(STATE)
      store.on('add', add)
      await startMaster(url, 'bench', store)
    },
  },
  slave: {
    async join(url, predicts) {
      slave = await connectSlave(url, 'bench')
      if (predicts) slave.on('add', add)
    },
    round: (count) =>
      sendAll(
        count,
        () => slave.emit('add', CHANGE),
        () => slave.settled(),
      ),
    sees: (count) => shows(slave, (state) => state.count >= count),
    count: () => slave.getState().count,
  },
  bareSink: { ...sink.commands, expect: (count) => void (total = count) },
  bareSource: {
    ...source.commands,
    opened: () => source.opened.then(() => undefined),
    async round(count) {
      const began = performance.now()
      const all = new Promise((resolve) => (confirmed = resolve))
      for (let sent = 0; sent < count; sent += BURST) {
        for (let i = 0; i < BURST; i++) source.channel.send(MESSAGE)
        await source.room()
        await turn()
      }
      await all
      return { rate: count / ((performance.now() - began) / 1000) }
    },
  },
  relay: relayOf(STATE, { add }),
  client: {
    async join(url) {
      client = await joinRelay(url, { add })
    },
    round: (count) =>
      sendAll(
        count,
        () => client.socket.emit('emit', 'add', CHANGE),
        () => client.socket.emitWithAck('settled'),
      ),
    sees: (count) =>
      new Promise((resolve) => {
        client.changed = (state) => {
          if (state.count >= count) resolve()
        }
        client.changed(client.state)
      }),
    count: () => client.state.count,
  },
}

export async function run(bench) {
  const url = await bench.start('nameServer').ask('open')
  await bench.start('master').ask('serve', url)
  const relayUrl = await bench.start('relay').ask('open')
  const [slave, predicting, sink, source] = ['slave', 'slave', 'bareSink', 'bareSource'].map((role) =>
    bench.start(role),
  )
  await slave.ask('join', url, false)
  await predicting.ask('join', url, true)
  await introduce(source, sink)
  await source.ask('opened')

  const count = bench.size(3_000, 20_000)
  const rates = await bench.interleave(bench.size(3, 7), {
    'named-master': () => slave.ask('round', count),
    'named-master, predicting': () => predicting.ask('round', count),
    'bare wrtc': async () => {
      await sink.ask('expect', count)
      return source.ask('round', count)
    },
  })
  await bench.end([predicting, sink, source])

  const measures = [
    {
      what: 'commits from one slave',
      unit: '/s',
      rounds: rates.rate,
      aims: [
        { of: 'named-master', against: 'bare wrtc', atLeast: 5 },
        { of: 'named-master, predicting', against: 'bare wrtc' },
      ],
    },
  ]
  const client = bench.start('client')
  await client.ask('join', relayUrl)
  const readers = { slave: [], client: [] }
  for (const audience of bench.size([10], [1, 5, 10])) {
    while (readers.slave.length < audience) {
      readers.slave.push(await joined(bench, 'slave', url))
      readers.client.push(await joined(bench, 'client', relayUrl))
    }
    const each = bench.size(1_000, 5_000)
    const delivered = await bench.interleave(bench.size(3, 7), {
      'named-master': () => deliver(slave, readers.slave, each),
      'Socket.IO': () => deliver(client, readers.client, each),
    })
    const aim = { of: 'named-master', against: 'Socket.IO', ...(audience === 10 ? { atLeast: 1 } : {}) }
    const what = `delivered to ${audience} ${audience === 1 ? 'slave' : 'slaves'}`
    measures.push({ what, unit: '/s', rounds: delivered.rate, aims: [aim], chart: 'fan-out' })
  }
  return measures
}

async function joined(bench, role, url) {
  const reader = bench.start(role)
  await reader.ask('join', url, false)
  return reader
}

/** Deliveries a second, until the last of the readers has the last change. */
async function deliver(writer, readers, count) {
  const before = await readers[0].ask('count')
  const seen = readers.map((reader) => reader.ask('sees', before + count))
  const began = performance.now()
  await writer.ask('round', count)
  await Promise.all(seen)
  return { rate: (count * readers.length) / ((performance.now() - began) / 1000) }
}
