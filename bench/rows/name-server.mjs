/**
 * The name server against the official `peer` server: introductions (an offer there and an answer back), registrations
 * and the memory of an idle client. One process of bare WebSockets keeps each busy; that process may be what limits the
 * rate, so what the server itself uses of a processor is told too.
 */
import { once } from 'node:events'
import { PeerServer } from 'peer'
import { nameServer, ownUse } from '../contenders/product.mjs'
import { NameSocket, PeerSocket } from '../contenders/signalling.mjs'

/** Clients that connect at the same time. */
const AT_ONCE = 32
/** Pairs that are introduced again and again, each several times at once. */
const PAIRS = 20
const EACH_AT_ONCE = 4
/** Clients whose memory is measured. */
const IDLE = 1_000

let numbers = 0
const newName = () => `client-${process.pid}-${++numbers}`

/** How a client of each kind comes in. */
const OPEN = {
  connected: (url) => NameSocket.open(url),
  async registered(url) {
    const client = await NameSocket.open(url)
    await client.register(newName())
    return client
  },
  peer: (url) => PeerSocket.open(url, newName()),
}

let idle = []
let pairs = []

/** So many, and some at once. */
async function inParallel(count, atOnce, act) {
  let left = count
  const worker = async (number) => {
    while (left-- > 0) await act(number)
  }
  await Promise.all(Array.from({ length: atOnce }, (_, number) => worker(number)))
}

export const processes = {
  nameServer,
  peerServer: {
    async open() {
      const settings = { host: '127.0.0.1', port: 0, path: '/', concurrent_limit: 100_000 }
      let listening
      const started = new Promise((resolve) => (listening = resolve))
      PeerServer(settings, (server) => listening(server))
      const server = await started
      if (!server.listening) await once(server, 'listening')
      return `http://127.0.0.1:${server.address().port}`
    },
    ...ownUse,
  },
  clients: {
    async connect(url, kind, count) {
      const opened = []
      const began = performance.now()
      await inParallel(count, AT_ONCE, async () => opened.push(await OPEN[kind](url)))
      const rate = count / ((performance.now() - began) / 1000)
      idle.push(...opened)
      return rate
    },
    leave() {
      for (const client of idle) client.close()
      idle = []
    },
    async pair(url, kind) {
      for (let number = 0; number < PAIRS; number++) {
        const name = newName()
        const answering = await (kind === 'peer' ? PeerSocket.open(url, name) : NameSocket.open(url))
        if (kind !== 'peer') await answering.register(name)
        pairs.push({ name, answering, calling: await OPEN[kind](url) })
      }
    },
    async introduce(count) {
      const began = performance.now()
      await inParallel(count, PAIRS * EACH_AT_ONCE, (number) => {
        const { calling, name } = pairs[number % PAIRS]
        return calling.introduce(name)
      })
      return count / ((performance.now() - began) / 1000)
    },
  },
}

export async function run(bench) {
  const introductions = await introductionsOf(bench)
  const { registrations, memory } = await clientsOf(bench)
  const against = (aim) => ({ of: 'named-master', against: 'peer', ...aim })
  const name = { of: 'named-master, with a name', against: 'peer' }
  const cpu = 'of the server for it'
  return [
    {
      what: 'introductions',
      unit: '/s',
      rounds: introductions.rate,
      aims: [against({ atLeast: 2 })],
      chart: 'name-server',
    },
    { what: `${cpu}, introduction`, unit: 'µs', rounds: introductions.cpu, aims: [against({})] },
    {
      what: 'registrations',
      unit: '/s',
      rounds: registrations.rate,
      aims: [against({ atLeast: 2 }), name],
      chart: 'name-server',
    },
    { what: `${cpu}, registration`, unit: 'µs', rounds: registrations.cpu, aims: [against({}), name] },
    {
      what: 'memory per idle client',
      unit: 'kB',
      rounds: memory.each,
      aims: [against({ atMost: 0.8 }), name],
      chart: 'name-server',
    },
  ]
}

async function introductionsOf(bench) {
  const count = bench.size(2_000, 10_000)
  const contender = async (role, kind) => {
    const server = bench.start(role)
    const clients = bench.start('clients')
    await clients.ask('pair', await server.ask('open'), kind)
    return async () => {
      const before = await server.ask('cpu')
      const rate = await clients.ask('introduce', count)
      return { rate, cpu: ((await server.ask('cpu')) - before) / count }
    }
  }
  const measured = await bench.interleave(bench.size(4, 11), {
    'named-master': await contender('nameServer', 'connected'),
    peer: await contender('peerServer', 'peer'),
  })
  await bench.end()
  return measured
}

/** Each round with a new server and new clients: a process gives no memory back. */
async function clientsOf(bench) {
  const contender = (role, kind) => async () => {
    const [server, clients] = [bench.start(role), bench.start('clients')]
    const url = await server.ask('open')
    await clients.ask('connect', url, kind, IDLE / 5)
    await clients.ask('leave')
    const before = { cpu: await server.ask('cpu'), memory: await server.ask('memory') }
    const rate = await clients.ask('connect', url, kind, IDLE)
    const cpu = ((await server.ask('cpu')) - before.cpu) / IDLE
    const each = ((await server.ask('memory')) - before.memory) / IDLE / 1000
    await bench.end([server, clients])
    return { rate, cpu, each }
  }
  const { rate, cpu, each } = await bench.interleave(bench.size(2, 9), {
    'named-master': contender('nameServer', 'connected'),
    'named-master, with a name': contender('nameServer', 'registered'),
    peer: contender('peerServer', 'peer'),
  })
  return { registrations: { rate, cpu }, memory: { each } }
}
