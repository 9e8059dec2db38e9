import { fork, type ChildProcess } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { createStore, Master, type Microstore } from 'named-master'
import { createNameServer, type NameServer } from 'named-master/nameserver'
import { Slave } from 'named-master/slave'
import type { EventMap, Events } from '#src/events.js'
import { nativeConnections } from '#src/link/native.js'
import type { Order, Report } from '../suites/child-slave.js'
import { cut, recordingRtc } from '../suites/setting.js'

const CHILD = fileURLToPath(new URL('../suites/child-slave.js', import.meta.url))
const NAME = 'garage'
const log = (): void => undefined

interface State {
  count: number
  list: string[]
}

/** Resolves with what an event says the next time. */
const next = <M extends EventMap<M>, E extends keyof M>(events: Events<M>, event: E): Promise<M[E]> =>
  new Promise((resolve) => events.once(event, (...args) => resolve(args)))

/** Resolves when a status is reached. */
const reaches = <Status>(events: Events<{ status: [Status] }>, wanted: Status): Promise<void> =>
  new Promise((resolve) => {
    const off = events.on('status', (status) => {
      if (status !== wanted) return
      off()
      resolve()
    })
  })

const add = (state: State, by: number): State => ({ ...state, count: state.count + by })

describe('cuts over wrtc', function () {
  this.timeout(60_000)
  let http: Server
  const sockets = new Set<Socket>()
  let names: NameServer
  let url: string
  let store: Microstore<State>
  let master: Master
  let mastersPeers: RTCPeerConnection[]
  const slaves: Slave<State>[] = []
  const children: Child[] = []

  beforeEach(async () => {
    http = createServer()
    http.on('connection', (socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
    })
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    names = await createNameServer({ server: http, data: false, turn: false, log })
    url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
    store = createStore<State>({ count: 0, list: [] })
    store.on('add', add)
    const { rtc, peers } = await recordingRtc()
    mastersPeers = peers
    master = new Master(url, { store, rtc, log })
    expect(await master.startServer(NAME)).to.equal('registered')
  })

  afterEach(async () => {
    for (const child of children.splice(0)) child.kill()
    await Promise.all(slaves.splice(0).map((slave) => slave.disconnect()))
    await master.close()
    await names.close()
    http.closeAllConnections()
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => http.close(resolve))
    await nativeConnections.idle()
  })

  async function connected(): Promise<{ slave: Slave<State>; peers: RTCPeerConnection[]; statuses: string[] }> {
    const { rtc, peers } = await recordingRtc()
    const slave = new Slave<State>(url, { rtc, log })
    slaves.push(slave)
    slave.on('add', add)
    expect(await slave.connect(NAME)).to.equal(true)
    const statuses: string[] = []
    slave.events.on('status', (status) => statuses.push(status))
    return { slave, peers, statuses }
  }

  class Child {
    readonly #process: ChildProcess
    readonly #reports: Report[] = []
    #look: () => void = () => undefined
    readonly ended: Promise<string>

    constructor() {
      this.#process = fork(CHILD, [url, NAME], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
      children.push(this)
      this.#process.on('message', (report: Report) => {
        this.#reports.push(report)
        this.#look()
      })
      this.ended = new Promise((resolve) =>
        this.#process.on('exit', (code, signal) => resolve(signal ?? `exit ${code}`)),
      )
    }

    /** Resolves with the first report that was not taken yet and has this. */
    async hear(key: 'status' | 'settled' | 'told', value?: unknown): Promise<unknown> {
      for (;;) {
        const said = this.#reports.map((report) => (report as Partial<Record<string, unknown>>)[key])
        const at = said.findIndex((one) => one !== undefined && (value === undefined || one === value))
        if (at !== -1) {
          this.#reports.splice(at, 1)
          return said[at]
        }
        await new Promise<void>((resolve) => (this.#look = resolve))
      }
    }

    tell(order: Order): void {
      this.#process.send(order)
    }

    kill(signal: NodeJS.Signals = 'SIGKILL'): void {
      this.#process.kill(signal)
    }
  }

  const ends = { slave: 'its own', master: "the master's", both: 'each' } as const
  for (const [whose, what] of Object.entries(ends)) {
    it(`a slave resumes after ${what} connection was closed under the link`, async () => {
      const { slave, peers, statuses } = await connected()
      const other = await connected()
      const joins: number[] = []
      master.events.on('slave-joined', ({ client }) => joins.push(client))
      for (let i = 0; i < 10; i++) {
        slave.emit('add', 1)
        slave.mutate((state) => void state.list.push(`before ${i}`))
      }
      const lost = reaches<string>(slave.events, 'reconnecting')
      const resumed = next(slave.events, 'resumed')
      if (whose !== 'master') await cut(peers.at(-1))
      if (whose !== 'slave') await cut(mastersPeers[0])
      for (let i = 0; i < 10; i++) {
        slave.emit('add', 1)
        other.slave.emit('add', 1)
        store.emit('add', 1)
      }
      await lost
      for (let i = 0; i < 10; i++) {
        slave.emit('add', 1)
        slave.mutate((state) => void state.list.push(`meanwhile ${i}`))
      }
      await resumed
      await Promise.all([slave.settled(), other.slave.settled()])
      const list = ['before', 'meanwhile'].flatMap((when) => Array.from({ length: 10 }, (_, i) => `${when} ${i}`))
      expect(store.getState()).to.deep.equal({ count: 50, list })
      expect(slave.getState()).to.deep.equal(store.getState())
      expect(statuses).to.deep.equal(['reconnecting', 'connected'])
      expect(other.statuses).to.deep.equal([])
      expect(new Set(joins)).to.deep.equal(new Set([1]))
      expect(master.slaves.map(({ client }) => client)).to.have.members([1, 2])
    })
  }

  it('a master tells of a slave that was killed, keeps what it had been acknowledged, and takes the next one', async () => {
    const first = new Child()
    await first.hear('status', 'connected')
    first.tell({ add: 1 })
    expect(await first.hear('settled')).to.equal(1)
    const left = next(master.events, 'slave-left')
    first.kill()
    expect(await first.ended).to.equal('SIGKILL')
    const second = new Child()
    await second.hear('status', 'connected')
    second.tell({ add: 10 })
    expect(await second.hear('settled')).to.equal(11)
    expect((await left)[0]).to.deep.equal({ client: 1 })
    second.tell({ end: true })
    expect(await second.ended).to.equal('exit 0')
    expect(store.getState().count).to.equal(11)
  })

  it('a process that stands still is found dead, and resumes when it goes on', async () => {
    const child = new Child()
    await child.hear('status', 'connected')
    child.tell({ add: 1 })
    expect(await child.hear('settled')).to.equal(1)
    const left = next(master.events, 'slave-left')
    child.kill('SIGSTOP')
    try {
      child.tell({ add: 10 })
      store.emit('add', 100)
      expect((await left)[0]).to.deep.equal({ client: 1 })
    } finally {
      child.kill('SIGCONT')
    }
    await child.hear('told', 'resumed')
    await child.hear('settled', 111)
    child.tell({ end: true })
    expect(await child.ended).to.equal('exit 0')
    expect(store.getState().count).to.equal(111)
  })

  it("the loss of the name server's sockets disturbs no link, and the next cut is healed as well", async () => {
    const { slave, peers, statuses } = await connected()
    const masterStatuses: string[] = []
    master.events.on('status', (status) => masterStatuses.push(status))
    const back = reaches<string>(master.events, 'started')
    const gone = reaches<string>(master.events, 'reconnecting')
    for (const socket of sockets) socket.destroy()
    await gone
    slave.emit('add', 1)
    await slave.settled()
    await back
    const resumed = next(slave.events, 'resumed')
    for (const socket of sockets) socket.destroy()
    slave.emit('add', 10)
    await cut(peers.at(-1))
    await resumed
    await slave.settled()
    expect(store.getState().count).to.equal(11)
    expect(statuses).to.deep.equal(['reconnecting', 'connected'])
    expect(masterStatuses.slice(0, 2)).to.deep.equal(['reconnecting', 'started'])
  })
})
