/**
 * A client in Python, written from docs/PROTOCOL.md alone (link.py, replica.py and what they need), against our name
 * server and master: what it finds, a client in any language will find.
 */
import { expect } from 'chai'
import { cp } from 'node:fs/promises'
import { createStore, type Master, type Microstore } from 'named-master'
import { Setting } from '../suites/setting.js'
import { Probe } from './python.js'

interface State {
  count: number
  text: string
  items: string[]
}
interface Position {
  readonly term: string
  readonly version: number
}
interface Look {
  readonly position: Position
  readonly state?: State
  readonly inflated: number
}
/** What became of a change: the version it was committed with, or why not; and how often its mutator ran. */
interface Outcome {
  readonly runs: number
  readonly version?: number
  readonly code?: string
}

describe('a client in Python', () => {
  let setting: Setting
  let store: Microstore<State>
  let data: string
  let master: Master
  let probe: Probe

  beforeEach(async () => {
    setting = await new Setting().open()
    store = createStore<State>({ count: 1, text: '', items: ['a'] })
    store.on('add', (state, by: number) => ({ ...state, count: state.count + by }))
    store.on('write', (state, text: string) => ({ ...state, text }))
    store.on('fail', () => {
      throw new Error('It always fails.')
    })
    data = await setting.folder()
    master = setting.master(store, { data })
    master.expose('sum', ({ a, b }: { a: number; b: number }) => a + b)
    master.expose('echo', (value: unknown) => value)
    probe = new Probe()
  })

  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(['The probe said:', ...probe.transcript].join('\n  '))
    expect(await probe.close()).to.equal(0)
    await setting.close()
  })

  /** The probe has joined and has the master's state. */
  async function joined(): Promise<Position> {
    await master.startServer('garage')
    await probe.do('connect', { url: setting.url, name: 'garage' })
    return probe.hears<Position>('joined')
  }

  const change = (...changes: object[]) => probe.do<Outcome[]>('change', { changes })
  const look = () => probe.do<Look>('look')

  it('waits for a name, joins, and reads the state', async () => {
    await probe.do('connect', { url: setting.url, name: 'garage' })
    expect(await probe.hears('ended')).to.include({ code: 'no-such-master' })
    await master.startServer('garage')
    const { version } = await probe.hears<Position>('joined')
    const { state, position } = await look()
    expect(state).to.deep.equal(store.getState())
    expect(position).to.include({ version })
  })

  it('emits, and is told of the events of others', async () => {
    const { version } = await joined()
    expect(await change({ emit: 'add', payload: 2 }, { emit: 'add', payload: 4 })).to.deep.equal([
      { runs: 0, version: version + 1 },
      { runs: 0, version: version + 2 },
    ])
    store.emit('add', 10)
    expect(await probe.hears('event')).to.include({ event: 'add', payload: 10 })
    expect((await look()).state?.count).to.equal(17)
  })

  it('mutates, and again when another has written the same', async () => {
    await joined()
    // The emit is behind the mutator's back: its commit comes after the base, and writes the same.
    const [, doubled, appended] = await change(
      { emit: 'add', payload: 2 },
      { mutate: 'double' },
      { mutate: 'append', value: 'b' },
    )
    expect(doubled).to.include({ runs: 2 })
    expect(appended?.version).to.equal((doubled?.version ?? 0) + 1)
    expect(store.getState()).to.deep.equal({ count: 6, text: '', items: ['a', 'b'] })
    expect((await look()).state).to.deep.equal(store.getState())
  })

  it('settles a mutate that has nothing left to change', async () => {
    await joined()
    const [, settled, last] = await change(
      { emit: 'add', payload: 2 },
      { mutate: 'atLeast', value: 3 },
      { emit: 'add', payload: 1 },
    )
    expect(settled).to.include({ runs: 2 })
    expect(last).to.have.property('version')
    expect(store.getState().count).to.equal(4)
  })

  it('is told why an event was refused, and what was sent behind it counts', async () => {
    await joined()
    const [failed, added] = await change({ emit: 'fail', payload: null }, { emit: 'add', payload: 1 })
    expect(failed).to.include({ code: 'handler-failed' })
    expect(added).to.have.property('version')
    expect(store.getState().count).to.equal(2)
  })

  it('calls', async () => {
    await joined()
    expect(await probe.do('call', { method: 'sum', params: { a: 1, b: 2 } })).to.equal(3)
    expect(await rejection(probe.do('call', { method: 'toString', params: null }))).to.match(/^no-such-method/)
  })

  it('sends what is larger than a frame, and gets it back', async () => {
    await joined()
    const text = 'aé€\u{1f600}'.repeat(30_000)
    const written = change({ emit: 'write', payload: text })
    expect(await probe.do('call', { method: 'echo', params: { text } })).to.deep.equal({ text })
    expect(await written).to.have.nested.property('[0].version')
    expect(store.getState().text).to.equal(text)
    expect((await look()).state?.text).to.equal(text)
  })

  it('is sent a large state, which comes in parts, deflated', async () => {
    const item = (n: number) => ({ text: `item ${n} of a large state`, tags: ['é', '€', '\u{1f600}'] })
    const lists = {
      'a/b': Array.from({ length: 5000 }, (_, n) => item(n)),
      '~': Array.from({ length: 300 }, (_, n) => n),
    }
    store.mutate((state) => ({ ...state, lists, last: 'é'.repeat(100_000) }))
    await joined()
    const { state, inflated } = await look()
    expect(state).to.deep.equal(store.getState())
    expect(inflated).to.be.above(2)
  })

  it('hears what is volatile, and says it', async () => {
    await joined()
    const heard = new Promise((resolve) => store.on('cursor', (_state, payload) => resolve(payload)))
    await probe.do('volatile', { event: 'cursor', payload: { x: 1 } })
    expect(await heard).to.deep.equal({ x: 1 })
    store.volatile.emit('cursor', { x: 2 })
    expect(await probe.hears('volatile')).to.deep.equal({ event: 'cursor', payload: { x: 2 } })
  })

  it('comes back on a new link: the missed commits follow, and its calls and changes go on', async () => {
    let answer: (value: string) => void = () => undefined
    const asked = new Promise<void>((resolve) => {
      master.expose('slow', () => {
        resolve()
        return new Promise<string>((answered) => (answer = answered))
      })
    })
    const { term } = await joined()
    const slow = probe.do('call', { method: 'slow', params: null })
    await asked
    await probe.do('cut')
    store.emit('add', 5)
    const made = change({ mutate: 'double' }, { emit: 'add', payload: 1 })
    const again = probe.do('call', { method: 'sum', params: { a: 2, b: 2 } })
    answer('late')
    await probe.do('come_back')
    expect(await probe.hears<Position>('resumed')).to.include({ term })
    expect(await probe.hears('event')).to.include({ event: 'add', payload: 5 })
    expect(await slow).to.equal('late')
    expect(await again).to.equal(4)
    expect(await made).to.have.length(2)
    expect(store.getState().count).to.equal(13)
  })

  it('is told goodbye, watches the name, and goes on when it is up again', async () => {
    const { term } = await joined()
    await master.stopServer()
    expect(await probe.hears('ended')).to.include({ code: 'stopped' })
    store.emit('add', 1)
    expect(await master.startServer('garage')).to.equal('started')
    expect(await probe.hears<Position>('resumed')).to.include({ term })
    expect((await look()).state?.count).to.equal(2)
  })

  it('finds the next life of the master: it goes on where it was', async () => {
    const asked = new Promise<void>((resolve) => {
      master.expose('never', () => new Promise(() => resolve()))
    })
    const { term } = await joined()
    await change({ emit: 'add', payload: 1 })
    const unanswered = rejection(probe.do('call', { method: 'never', params: null }))
    await asked
    await master.close()
    const heir = createStore({ count: 100, text: '', items: [] })
    expect(await setting.master(heir, { data }).startServer('garage')).to.equal('started')
    expect((await probe.hears<Position>('resumed')).term).to.not.equal(term)
    expect(await unanswered).to.match(/^unknown-outcome/)
    expect(await change({ mutate: 'double' })).to.have.nested.property('[0].version')
    expect(heir.getState()).to.deep.equal({ count: 4, text: '', items: ['a'] })
  })

  it('finds a backup in its master’s place: it is told what was lost, and goes on', async () => {
    await joined()
    await master.close()
    const backup = await setting.folder()
    await cp(data, backup, { recursive: true })
    const second = createStore<State>({ count: 0, text: '', items: [] })
    second.on('add', (state, by: number) => ({ ...state, count: state.count + by }))
    master = setting.master(second, { data })
    await master.startServer('garage')
    const { term } = await probe.hears<Position>('resumed')
    await change({ emit: 'add', payload: 1 })
    await master.close()
    const third = createStore<State>({ count: 0, text: '', items: [] })
    expect(await setting.master(third, { data: backup }).startServer('garage')).to.equal('started')
    expect(await probe.hears('lost')).to.deep.equal([1])
    expect((await probe.hears<Position>('reset')).term).to.not.equal(term)
    expect(await change({ mutate: 'double' })).to.have.nested.property('[0].version')
    expect(third.getState().count).to.equal(2)
  })
})

const rejection = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    (value) => `no failure, but ${JSON.stringify(value)}`,
    (error: unknown) => (error as Error).message,
  )
