/**
 * A slave's `emit`, committed by the master and seen by another slave, against the same store relayed by Socket.IO. Two
 * ends throw a ball to each other: each throw is one emit that the other sees, so one clock is enough. A bare channel
 * with the same text to and fro shows the least that two hops take with this engine.
 */
import { createStore } from 'named-master'
import { REMARK } from '../content.mjs'
import { connectSlave, nameServer, startMaster } from '../contenders/product.mjs'
import { joinRelay, relayOf } from '../contenders/socketio.mjs'
import { introduce, pingPong } from '../contenders/wrtc.mjs'
import { envelope } from '#src/protocol/envelope.js'
import { times } from '../times.mjs'

const STATE = { throws: 0, remark: '' }
const throwBall = (state, { throws, remark }) => ({ ...state, throws, remark })

/** One throw as a slave sends it; the commit that answers it is a little longer. */
const MESSAGE = JSON.stringify([
  envelope('emit', { seq: 1000, prev: 999, event: 'throw', payload: { throws: 1000, remark: REMARK } }),
])

/** Either end of either contender: `emit` throws, and `seen` is told what it shows after every change. */
const end = {
  emit: undefined,
  caught: undefined,
  /** The remainder of one's own throws by two: the first end's are odd, the second's even. */
  own: 1,
  latest: 0,
  seen({ throws }) {
    if (throws <= end.latest || throws % 2 === end.own) return
    end.latest = throws
    if (end.own === 0) end.emit({ throws: throws + 1, remark: REMARK })
    else end.caught?.()
  },
  /** There and back is two. */
  async round(count) {
    const { p50, p99 } = await times(count, () => {
      end.emit({ throws: end.latest + 1, remark: REMARK })
      return new Promise((resolve) => (end.caught = resolve))
    })
    return { p50: p50 / 2, p99: p99 / 2 }
  },
}

const slave = {
  async join(url, own) {
    const joined = await connectSlave(url, 'bench')
    end.own = own
    end.emit = (ball) => joined.emit('throw', ball)
    joined.on('throw', throwBall)
    joined.subscribe(() => end.seen(joined.getState()))
  },
  round: end.round,
}

const client = {
  async join(url, own) {
    const joined = await joinRelay(url, { throw: throwBall })
    end.own = own
    end.emit = (ball) => joined.socket.emit('emit', 'throw', ball)
    joined.changed = end.seen
  },
  round: end.round,
}

export const processes = {
  nameServer,
  master: {
    async serve(url) {
      const store = createStore(STATE)
      store.on('throw', throwBall)
      await startMaster(url, 'bench', store)
    },
  },
  slave,
  relay: relayOf(STATE, { throw: throwBall }),
  client,
  ...pingPong(MESSAGE, MESSAGE),
}

export async function run(bench) {
  const url = await bench.start('nameServer').ask('open')
  await bench.start('master').ask('serve', url)
  const slaves = [bench.start('slave'), bench.start('slave')]
  const relay = await bench.start('relay').ask('open')
  const clients = [bench.start('client'), bench.start('client')]
  for (const own of [0, 1]) {
    await slaves[own].ask('join', url, own)
    await clients[own].ask('join', relay, own)
  }
  const [bareCaller, bareEcho] = [bench.start('bareCaller'), bench.start('bareEcho')]
  await introduce(bareCaller, bareEcho)
  await bareCaller.ask('opened')
  const count = bench.size(300, 2_000)
  const measured = await bench.interleave(bench.size(5, 15), {
    'named-master': () => slaves[1].ask('round', count),
    'Socket.IO': () => clients[1].ask('round', count),
    'bare wrtc, two hops': () => bareCaller.ask('round', count),
  })
  const against = { of: 'named-master', against: 'Socket.IO' }
  const hops = { of: 'named-master', against: 'bare wrtc, two hops' }
  return [
    { what: 'seen by another, median', unit: 'µs', rounds: measured.p50, aims: [{ ...against, atMost: 1 }, hops] },
    { what: 'seen by another, 99%', unit: 'µs', rounds: measured.p99, aims: [against] },
  ]
}
