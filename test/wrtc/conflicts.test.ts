/**
 * Changes of several slaves that meet, from end to end. Both are made in one turn, on the same state, so that they always
 * meet; which of them the master takes first is open, so each test says what holds either way.
 */
import { expect } from 'chai'
import { createStore, type Microstore, type Slave } from 'named-master'
import { systemClock } from '#src/clock.js'
import { envelope, RawSlave } from '../suites/raw-slave.js'
import { failure, hears, Setting, shows } from '../suites/setting.js'

interface Sheet {
  readonly n: number
  readonly list: readonly string[]
  readonly card: { readonly title?: string; readonly text?: string } | null
  readonly done?: boolean
}
const SHEET: Sheet = { n: 0, list: ['a', 'b'], card: { title: 't', text: 'x' } }

/** A mutator and how often it was run. */
const counted = (mutator: (state: Sheet) => Sheet | void) => {
  const run = Object.assign(
    (state: Sheet) => {
      run.times++
      return mutator(state)
    },
    { times: 0 },
  )
  return run
}

describe('changes that meet, over wrtc', () => {
  let setting: Setting
  let store: Microstore<Sheet>
  let one: Slave<Sheet>
  let two: Slave<Sheet>

  beforeEach(async () => {
    setting = await new Setting().open()
    const served = await setting.serve('sheet', SHEET)
    store = served.store
    one = await setting.connected<Sheet>('sheet')
    two = await setting.connected<Sheet>('sheet')
  })
  afterEach(() => setting.close())

  /** Both change in one turn; answers the state, which all have in the end, and how often each mutator was run. */
  async function meet(first: (state: Sheet) => Sheet | void, second: (state: Sheet) => Sheet | void) {
    const [a, b] = [counted(first), counted(second)]
    one.mutate(a)
    two.mutate(b)
    await Promise.all([one.settled(), two.settled()])
    const state = store.getState()
    const text = JSON.stringify(state)
    for (const slave of [one, two]) await shows(slave, (shown) => JSON.stringify(shown) === text)
    return { state, runs: [a.times, b.times] }
  }

  it('the same place: the later is run again on what the earlier made', async () => {
    const add = (state: Sheet): Sheet => ({ ...state, n: state.n + 1 })
    const { state, runs } = await meet(add, add)
    expect(state.n).to.equal(2)
    expect(Math.min(...runs)).to.equal(1)
    expect(Math.max(...runs)).to.be.above(1)
  })

  it('different places: neither is run again', async () => {
    const { state, runs } = await meet(
      (sheet) => ({ ...sheet, n: 5 }),
      (sheet) => ({ ...sheet, card: { ...sheet.card, title: 'new' } }),
    )
    expect(state).to.deep.equal({ ...SHEET, n: 5, card: { title: 'new', text: 'x' } })
    expect(runs).to.deep.equal([1, 1])
  })

  it('a place above another: the later is run again', async () => {
    const { state, runs } = await meet(
      (sheet) => ({ ...sheet, card: null }),
      (sheet) => (sheet.card === null ? sheet : { ...sheet, card: { ...sheet.card, text: 'changed' } }),
    )
    expect(state.card).to.equal(null)
    expect(runs[0]! + runs[1]!).to.be.above(2)
  })

  it('two appends: both stay, and neither is run again', async () => {
    const { state, runs } = await meet(
      (sheet) => ({ ...sheet, list: [...sheet.list, 'one'] }),
      (sheet) => ({ ...sheet, list: [...sheet.list, 'two'] }),
    )
    expect([...state.list].sort()).to.deep.equal(['a', 'b', 'one', 'two'])
    expect(runs).to.deep.equal([1, 1])
  })

  it('an append and an element: neither is run again', async () => {
    const { state, runs } = await meet(
      (sheet) => ({ ...sheet, list: [...sheet.list, 'c'] }),
      (sheet) => ({ ...sheet, list: sheet.list.with(0, 'A') }),
    )
    expect(state.list).to.deep.equal(['A', 'b', 'c'])
    expect(runs).to.deep.equal([1, 1])
  })

  it('an insertion and an element: the later is run again, and finds its element where it is by then', async () => {
    const { state, runs } = await meet(
      (sheet) => ({ ...sheet, list: ['first', ...sheet.list] }),
      (sheet) => ({ ...sheet, list: sheet.list.map((item) => (item === 'b' ? 'B' : item)) }),
    )
    expect(state.list).to.deep.equal(['first', 'a', 'B'])
    expect(runs[0]! + runs[1]!).to.be.above(2)
  })

  it('what the other has done already: nothing is left to send, and it is settled', async () => {
    const tick = (sheet: Sheet): Sheet => (sheet.done === true ? sheet : { ...sheet, done: true })
    let changes = 0
    store.subscribe(() => changes++)
    const { state } = await meet(tick, tick)
    expect(state.done).to.equal(true)
    expect(changes).to.equal(1)
  })

  it('a change of the program at the master: the slave\u2019s is run again', async () => {
    const late = counted((sheet) => ({ ...sheet, n: sheet.n * 2 + 1 }))
    one.mutate(late)
    store.mutate((sheet) => ({ ...sheet, n: 50 }))
    await one.settled()
    expect(store.getState().n).to.equal(101)
    expect(late.times).to.be.above(1)
  })

  it('own changes one after the other: none is run again', async () => {
    const add = counted((sheet) => ({ ...sheet, n: sheet.n + 1 }))
    for (let i = 0; i < 50; i++) one.mutate(add)
    await one.settled()
    expect(store.getState().n).to.equal(50)
    expect(add.times).to.equal(50)
  })

  it('a conflict in the middle of a row: all after it are sent again, each is taken once, in order', async () => {
    const said: string[] = []
    store.on('say', (state, word: string) => {
      said.push(word)
      return { ...state, list: [...state.list, word] }
    })
    store.mutate((sheet) => ({ ...sheet, n: 7 }))
    one.mutate((sheet) => ({ ...sheet, done: true }))
    one.mutate((sheet) => ({ ...sheet, n: sheet.n + 1 }))
    one.emit('say', 'hello')
    one.mutate((sheet) => ({ ...sheet, n: sheet.n + 1 }))
    one.emit('say', 'bye')
    await one.settled()
    expect(store.getState()).to.deep.equal({ ...SHEET, n: 9, done: true, list: ['a', 'b', 'hello', 'bye'] })
    expect(said).to.deep.equal(['hello', 'bye'])
    expect(one.getState()).to.deep.equal(store.getState())
  })

  it('a mutate on what an own emit only guessed: it waits, and is made on what the master decided', async () => {
    // The master decides that n stays, so that no conflict would hold up a patch made on the guess.
    store.on('set', (state) => ({ ...state, done: true }))
    one.on('set', (state) => ({ ...state, n: 5 }))
    one.emit('set')
    one.mutate((sheet) => ({ ...sheet, n: sheet.n + 1 }))
    expect(one.getState().n, 'the guess is shown').to.equal(6)
    await one.settled()
    expect(store.getState()).to.deep.equal({ ...SHEET, done: true, n: 1 })
  })

  it('a mutator that throws when it is run again: its change is dropped and told', async () => {
    const refused = hears(one.events, 'refused')
    one.mutate((sheet) => {
      if (sheet.n !== 0) throw new Error('Only from zero')
      return { ...sheet, n: 1 }
    })
    store.mutate((sheet) => ({ ...sheet, n: 2 }))
    expect(await failure(one.settled())).to.include({ code: 'mutator-failed', message: 'Only from zero' })
    const [{ code, patch }] = await refused
    expect(code).to.equal('mutator-failed')
    expect(patch).to.deep.equal([{ op: 'replace', path: '/n', value: 1 }])
    expect(one.getState()).to.deep.equal({ ...SHEET, n: 2 })
    expect(store.getState().n).to.equal(2)
  })

  it('a mutator that throws at once: its caller gets that, and nothing is sent', async () => {
    expect(() => one.mutate(() => { throw new RangeError('no') })).to.throw(RangeError, 'no') // prettier-ignore
    await one.settled()
    expect(store.getState()).to.deep.equal(SHEET)
  })

  it('both a new value and a change in place: an error at the slave, a refusal from the master', async () => {
    const both = (sheet: Sheet): Sheet => {
      ;(sheet as { n: number }).n = 1
      return { ...sheet, done: true }
    }
    expect(() => one.mutate(both))
      .to.throw()
      .with.property('code', 'ambiguous-mutator')
    store.on('both', both)
    one.emit('both')
    expect(await failure(one.settled())).to.include({ code: 'ambiguous-mutator', remote: true })
    expect(store.getState()).to.deep.equal(SHEET)
  })

  it('a mutate inside a handler: store-busy, there and here', async () => {
    store.on('nested', () => void store.mutate((sheet) => ({ ...sheet, n: 1 })))
    one.emit('nested')
    expect(await failure(one.settled())).to.include({ code: 'store-busy', remote: true })
    let seen: unknown
    one.on('tick', () => {
      try {
        one.mutate((sheet) => sheet)
      } catch (error) {
        seen = (error as { code?: unknown }).code
      }
    })
    one.emit('tick')
    expect(seen).to.equal('store-busy')
    await one.settled()
  })

  it('a slave that has lost four times in a row: others wait until it is through', async () => {
    // For this master no time passes, and it knows no round trip: it is the change that ends the wait.
    const contended = createStore(SHEET)
    const master = setting.master(contended, { clock: { ...systemClock, now: () => 0 } })
    await master.startServer('contended')
    const other = await setting.connected<Sheet>('contended')
    const raw = await RawSlave.dial(setting.url, 'contended', false)
    setting.onClose(() => raw.close())
    await raw.hello()
    const stale = await raw.caughtUp(1)
    contended.mutate((sheet) => ({ ...sheet, n: 10 }))
    const patch = [{ op: 'replace', path: '/n', value: 1000 }]
    for (let seq = 1; seq <= 4; seq++) {
      raw.say(envelope('mutate', { seq, prev: 0, base: stale, patch }))
      expect((await raw.hears('refused', (refused) => refused.seq === seq)).payload.code).to.equal('conflict')
    }
    await shows(other, ({ n }) => n === 10)
    const arrived = new Promise<void>((resolve) => contended.on('arrived', () => resolve()))
    other.mutate((sheet) => ({ ...sheet, n: sheet.n + 1 }))
    // Sent after the mutate: when this is there, so is that, and waits.
    queueMicrotask(() => other.volatile.emit('arrived'))
    await arrived
    expect(contended.getState().n).to.equal(10)
    raw.say(envelope('mutate', { seq: 5, prev: 0, base: await raw.caughtUp(2), patch }))
    await Promise.all([raw.taken(5), other.settled()])
    expect(contended.getState().n).to.equal(1001)
  })

  it('a base that is older than the log: a conflict, though nobody wrote there', async () => {
    const raw = await RawSlave.dial(setting.url, 'sheet')
    setting.onClose(() => raw.close())
    await raw.hello()
    // The log keeps 8 MiB of commits, and is trimmed when it has a quarter more.
    for (let megabytes = 0; megabytes < 12; megabytes++) store.emit('passing', 'x'.repeat(1024 * 1024))
    const patch = [{ op: 'replace', path: '/n', value: 1 }]
    raw.say(envelope('mutate', { seq: 1, prev: 0, base: 0, patch }))
    expect((await raw.hears('refused', ({ seq }) => seq === 1)).payload.code).to.equal('conflict')
    raw.say(envelope('mutate', { seq: 1, prev: 0, base: 12, patch }))
    await raw.taken(1)
    expect(store.getState().n).to.equal(1)
  })

  it('a master that stops with changes on their way: each is there once when it is back', async () => {
    const { store: counter, master } = await setting.serve('counter', { n: 0, emitted: 0 })
    counter.on('emitted', (state) => ({ ...state, emitted: state.emitted + 1 }))
    const slave = await setting.connected<{ n: number; emitted: number }>('counter')
    const change = (times: number) => {
      for (let i = 0; i < times; i++) {
        slave.mutate((state) => ({ ...state, n: state.n + 1 }))
        slave.emit('emitted')
      }
    }
    change(50)
    // Some are taken by now and some are not: the link is cut at the first that is.
    await shows(counter, ({ n }) => n > 0)
    const lost = hears(slave.events, 'status', (status) => status === 'reconnecting')
    await master.stopServer()
    await lost
    change(50)
    expect(slave.getState().n, 'what is made meanwhile is shown').to.equal(100)
    const resumed = hears(slave.events, 'resumed')
    await master.startServer('counter')
    await Promise.all([resumed, slave.settled()])
    expect(counter.getState()).to.deep.equal({ n: 100, emitted: 100 })
    expect(slave.getState()).to.deep.equal({ n: 100, emitted: 100 })
  })
})
