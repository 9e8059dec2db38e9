/** Round trip of a slave's `call`, against the same bytes over a bare channel and an acknowledgement of Socket.IO. */
import { createStore } from 'named-master'
import { envelope } from '#src/protocol/envelope.js'
import { REMARK } from '../content.mjs'
import { connectSlave, nameServer, startMaster } from '../contenders/product.mjs'
import { joinRelay, relayOf } from '../contenders/socketio.mjs'
import { introduce, pingPong } from '../contenders/wrtc.mjs'
import { times } from '../times.mjs'

const PARAMS = { remark: REMARK }
/** What a call and its answer are on the wire: the bare channel carries the same text. */
const CALL = JSON.stringify([envelope('call', { call: 1000, method: 'echo', params: PARAMS, lowestCall: 999 })])
const ANSWER = JSON.stringify([envelope('answer', { call: 1000, version: 0, result: PARAMS })])

let slave
let client

export const processes = {
  nameServer,
  master: {
    async serve(url) {
      const master = await startMaster(url, 'bench', createStore({}))
      master.expose('echo', (params) => params)
    },
  },
  slave: {
    async join(url) {
      slave = await connectSlave(url, 'bench')
    },
    round: (count) => times(count, () => slave.call('echo', PARAMS)),
  },
  ...pingPong(CALL, ANSWER),
  relay: relayOf({}, {}),
  client: {
    async join(url) {
      client = await joinRelay(url, {})
    },
    round: (count) => times(count, () => client.socket.emitWithAck('call', PARAMS)),
  },
}

export async function run(bench) {
  const names = ['nameServer', 'master', 'slave', 'bareEcho', 'bareCaller', 'relay', 'client']
  const [server, master, slave, bareEcho, bareCaller, relay, client] = names.map((name) => bench.start(name))
  const url = await server.ask('open')
  await master.ask('serve', url)
  await slave.ask('join', url)
  await introduce(bareCaller, bareEcho)
  await bareCaller.ask('opened')
  await client.ask('join', await relay.ask('open'))

  const count = bench.size(400, 5_000)
  const measured = await bench.interleave(bench.size(5, 15), {
    'named-master': () => slave.ask('round', count),
    'bare wrtc': () => bareCaller.ask('round', count),
    'Socket.IO': () => client.ask('round', count),
  })
  const against = (aim) => [
    { of: 'named-master', against: 'bare wrtc', ...aim },
    { of: 'named-master', against: 'Socket.IO' },
  ]
  return [
    { what: 'a call, median', unit: 'µs', rounds: measured.p50, aims: against({ atMost: 1.2 }) },
    { what: 'a call, 99%', unit: 'µs', rounds: measured.p99, aims: against({}) },
  ]
}
