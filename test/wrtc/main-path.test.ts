import { expect } from 'chai'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { EventInfo, Slave } from 'named-master'
import { failure, hears, Setting, shows, thrownBy } from '../suites/setting.js'

const COUNTING_SLAVE = fileURLToPath(new URL('../suites/counting-slave.js', import.meta.url))
const MUTATIONS = 100

interface Counter {
  readonly n: number
}

const add = (slave: Slave<Counter>): Counter => slave.mutate((state) => ({ ...state, n: state.n + 1 }))
const addAll = async (slave: Slave<Counter>): Promise<void> => {
  for (let i = 0; i < MUTATIONS; i++) add(slave)
  await slave.settled()
}

/** Resolves with the next message that a child sends its parent; rejects when it ends instead. */
const said = (child: ChildProcess): Promise<unknown> =>
  new Promise((resolve, reject) => {
    child.once('message', resolve)
    child.once('exit', (code) => reject(new Error(`The child ended with ${String(code)}`)))
  })

describe('the main path over wrtc', function () {
  this.timeout(60_000)
  let setting: Setting

  beforeEach(async () => {
    setting = await new Setting().open()
  })
  afterEach(() => setting.close())

  it('carries ten slaves that each add a hundred to exactly 1,000', async () => {
    const { store, master } = await setting.serve<Counter>('tally', { n: 0 })
    const slaves = await Promise.all(Array.from({ length: 10 }, () => setting.connected<Counter>('tally')))
    expect(new Set(master.slaves.map(({ client }) => client)).size).to.equal(10)
    await Promise.all(slaves.map(addAll))
    expect(store.getState()).to.deep.equal({ n: 1000 })
    await Promise.all(slaves.map((slave) => shows(slave, ({ n }) => n === 1000)))
  })

  it('lets nine fast slaves finish while a tenth does not read, and takes its changes afterwards', async () => {
    const { store, master } = await setting.serve<Counter>('tally', { n: 0 })
    const slow = fork(COUNTING_SLAVE, [setting.url, 'tally', String(MUTATIONS)])
    setting.onClose(() => {
      if (slow.exitCode === null) slow.kill('SIGKILL')
    })
    expect(await said(slow)).to.equal('connected')
    const fast = await Promise.all(Array.from({ length: 9 }, () => setting.connected<Counter>('tally')))
    slow.kill('SIGSTOP')
    await Promise.all(fast.map(addAll))
    expect(store.getState()).to.deep.equal({ n: 900 })
    expect(master.slaves, 'the slow one still counts as there').to.have.length(10)
    slow.kill('SIGCONT')
    const [done, exit] = [said(slow), once(slow, 'exit')]
    slow.send('go')
    expect(await done).to.equal('done')
    expect(store.getState()).to.deep.equal({ n: 1000 })
    expect(await exit).to.deep.equal([0, null])
  })

  it('shows an own change at once and never an older value of it', async () => {
    const { store } = await setting.serve<Counter>('tally', { n: 0 })
    const slave = await setting.connected<Counter>('tally')
    const shown: number[] = []
    slave.subscribe(() => shown.push(slave.getState().n))
    for (let i = 1; i <= MUTATIONS; i++) expect(add(slave)).to.deep.equal({ n: i })
    await slave.settled()
    expect(shown).to.deep.equal([...shown].sort((a, b) => a - b))
    expect(store.getState().n).to.equal(MUTATIONS)
  })

  it('gives getState a selector, and the initial state until the first snapshot', async () => {
    await setting.serve('tally', { n: 7 })
    const slave = setting.slave<Counter>({ initialState: { n: -1 } })
    expect(slave.getState()).to.deep.equal({ n: -1 })
    expect(slave.getState(({ n }) => n * 2)).to.equal(-2)
    expect(setting.slave().getState()).to.equal(undefined)
    await slave.connect('tally')
    expect(slave.getState()).to.deep.equal({ n: 7 })
    expect(slave.getState(({ n }) => n * 2)).to.equal(14)
  })

  it('refuses changes before the first snapshot, and says so', async () => {
    const slave = setting.slave<Counter>({ initialState: { n: 0 } })
    for (const change of [() => slave.emit('add'), () => add(slave)]) {
      expect(thrownBy(change).code).to.equal('not-connected')
    }
    expect((await failure(slave.call('anything'))).code).to.equal('not-connected')
    await slave.settled()
    expect(slave.getState()).to.deep.equal({ n: 0 })
  })

  it('tells status, path, round trip and who is here', async () => {
    const { master } = await setting.serve('tally', { n: 0 })
    const slave = setting.slave()
    const statuses: string[] = []
    slave.events.on('status', (status) => statuses.push(status))
    const joined = hears(master.events, 'slave-joined')
    expect(slave.status).to.equal('disconnected')
    expect(await slave.connect('tally')).to.equal(true)
    expect((await joined)[0]).to.deep.equal({ client: slave.client })
    expect(master.slaves.map(({ client }) => client)).to.deep.equal([slave.client])
    const left = hears(master.events, 'slave-left')
    expect(await slave.disconnect()).to.equal(false)
    expect((await left)[0]).to.deep.equal({ client: slave.client })
    expect(statuses).to.deep.equal(['connecting', 'connected', 'disconnected'])
    expect(await slave.disconnect(), 'again').to.equal(false)
    expect(slave.path).to.equal(undefined)
    expect(slave.roundTrip).to.equal(undefined)
  })

  it('runs handlers in the phases that the end and the moment ask for', async () => {
    const { store } = await setting.serve<Counter>('tally', { n: 0 })
    const phases = { master: [] as string[], own: [] as string[], other: [] as string[] }
    const infos: EventInfo[] = []
    const handle = (who: keyof typeof phases) => (state: Counter, by: number, info: EventInfo) => {
      phases[who].push(`${info.event} ${info.phase}`)
      infos.push(info)
      return { n: state.n + by }
    }
    store.on('add', handle('master'))
    const own = await setting.connected<Counter>('tally')
    const other = await setting.connected<Counter>('tally')
    own.on('add', handle('own'))
    other.on('add', handle('other'))
    own.emit('add', 2)
    expect(own.getState(), 'predicted').to.deep.equal({ n: 2 })
    await Promise.all([own.settled(), shows(other, ({ n }) => n === 2)])
    expect(phases).to.deep.equal({ master: ['add commit'], own: ['add predict'], other: ['add commit'] })
    expect(new Set(infos.map(({ id }) => id)), 'one id').to.have.property('size', 1)
    expect(new Set(infos.map(({ at }) => at)), 'one time').to.have.property('size', 1)
    expect(infos.map(({ origin }) => origin)).to.deep.equal(infos.map(() => ({ client: own.client, seq: 1 })))
    expect(other.getState(), 'what a handler returns for a decided event is not used').to.deep.equal({ n: 2 })

    // The master's own change reaches the slave while its prediction waits for an answer.
    own.emit('add', 10)
    store.mutate((state) => ({ n: state.n + 100 }))
    await own.settled()
    expect(phases.own.slice(1)).to.deep.equal(['add predict', 'add rerun'])
    expect(own.getState()).to.deep.equal({ n: 112 })
  })

  it('matches patterns of any flags at both ends, and tells which event it was', async () => {
    const { store } = await setting.serve<{ log: string[] }>('notes', { log: [] })
    // With g and y a pattern would remember where it stood.
    store.on(/^note:/gy, (state, payload: string, { event }) => {
      state.log.push(`${event} ${payload}`)
    })
    const slave = await setting.connected<{ log: string[] }>('notes')
    const other = await setting.connected<{ log: string[] }>('notes')
    const heard: string[] = []
    const off = other.on(/NOTE/i, (_state, _payload, { event }) => void heard.push(event))
    for (const event of ['note:a', 'other', 'note:b']) slave.emit(event, 'x')
    await slave.settled()
    await shows(other, ({ log }) => log.length === 2)
    expect(store.getState().log).to.deep.equal(['note:a x', 'note:b x'])
    expect(heard).to.deep.equal(['note:a', 'note:b'])
    off()
    slave.emit('note:c', 'x')
    await shows(other, ({ log }) => log.length === 3)
    expect(heard).to.have.length(2)
  })

  it('commits an event and all it emits inside as one change, with ids of their own', async () => {
    const { store } = await setting.serve('tally', { n: 0, doubled: 0 })
    store.on('add', (state, by: number) => {
      store.emit('double', state.n + by)
      return { ...state, n: state.n + by }
    })
    store.on('double', (state, n: number) => ({ ...state, doubled: 2 * n }))
    const slave = await setting.connected('tally')
    const other = await setting.connected<{ n: number; doubled: number }>('tally')
    const heard: EventInfo[] = []
    other.on(/./, (_state, _payload, info) => void heard.push(info))
    let changes = 0
    other.subscribe(() => changes++)
    slave.emit('add', 3)
    await shows(other, ({ doubled }) => doubled === 6)
    expect(changes).to.equal(1)
    expect(heard.map(({ event }) => event)).to.deep.equal(['add', 'double'])
    expect(heard[1]?.id).to.equal(`${heard[0]?.id}/1`)
  })

  it('ignores an emit inside a handler of a decided event, and warns', async () => {
    const { store } = await setting.serve<Counter>('tally', { n: 0 })
    store.on('add', (state) => ({ n: state.n + 1 }))
    const slave = await setting.connected<Counter>('tally')
    slave.on('add', () => slave.emit('add'))
    store.emit('add')
    await shows(slave, ({ n }) => n === 1)
    slave.mutate((state) => ({ n: state.n + 10 }))
    await slave.settled()
    expect(store.getState()).to.deep.equal({ n: 11 })
    expect(setting.journal.lines.filter((line) => /^warn: .*microtask/.test(line))).to.have.length(1)
  })

  it('carries volatile events to everybody once, and changes nothing by them', async () => {
    const { store } = await setting.serve<Counter>('tally', { n: 0 })
    const slave = await setting.connected<Counter>('tally')
    const other = await setting.connected<Counter>('tally')
    const heard: string[] = []
    const all = new Promise<void>((resolve) => {
      const hear =
        (who: string) =>
        (state: Counter, payload: unknown, { phase, origin }: EventInfo) => {
          heard.push(`${who} ${phase} ${JSON.stringify(payload)} ${JSON.stringify(origin)}`)
          if (heard.length === 3) resolve()
          return { n: state.n + 1000 }
        }
      store.on('cursor', hear('master'))
      slave.on('cursor', hear('slave'))
      other.on('cursor', hear('other'))
    })
    slave.volatile.emit('cursor', { x: 1 })
    await all
    const line = `volatile {"x":1} ${JSON.stringify({ client: slave.client })}`
    expect(heard.sort()).to.deep.equal([`master ${line}`, `other ${line}`, `slave ${line}`])
    expect([store, slave, other].map((one) => one.getState().n)).to.deep.equal([0, 0, 0])
    const fromMaster = new Promise<unknown>((resolve) => other.on('tick', (_state, payload) => resolve(payload)))
    store.volatile.emit('tick', 5)
    expect(await fromMaster).to.equal(5)
  })

  it('rejects settled() when it disconnects with changes unanswered, and sends them when it is back', async () => {
    const { store, master } = await setting.serve<Counter>('tally', { n: 0 })
    const slave = await setting.connected<Counter>('tally')
    const lost = hears(slave.events, 'status', (status) => status === 'reconnecting')
    await master.stopServer()
    await lost
    add(slave)
    const settled = failure(slave.settled())
    await slave.disconnect()
    expect((await settled).code).to.equal('not-connected')
    expect((await failure(slave.settled())).code, 'asked afterwards').to.equal('not-connected')
    await master.startServer('tally')
    expect(await slave.connect('tally')).to.equal(true)
    await slave.settled()
    expect(store.getState()).to.deep.equal({ n: 1 })
  })

  it('rejects settled() with what was refused, tells why, and undoes it', async () => {
    const { store } = await setting.serve<Counter>('tally', { n: 0 })
    store.on('add', (state, by: number) => {
      if (by < 0) throw new Error('Only upwards')
      return { n: state.n + by }
    })
    const slave = await setting.connected<Counter>('tally')
    slave.on('add', (state, by: number) => ({ n: state.n + by }))
    const refused = hears(slave.events, 'refused')
    slave.emit('add', 1)
    slave.emit('add', -5)
    slave.emit('add', 2)
    expect(slave.getState().n).to.equal(-2)
    const error = await failure(slave.settled())
    expect(error).to.include({ code: 'handler-failed', message: 'Only upwards', remote: true })
    expect((await refused)[0]).to.deep.equal({
      code: 'handler-failed',
      message: 'Only upwards',
      seq: 2,
      event: 'add',
      patch: undefined,
    })
    expect(slave.getState()).to.deep.equal({ n: 3 })
    expect(store.getState()).to.deep.equal({ n: 3 })
    await slave.settled()
  })
})
