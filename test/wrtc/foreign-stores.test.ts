/**
 * Stores that are not ours, behind a real master with real slaves: what slaves see of them and may do with them, and
 * what is lost. Each limit that docs/decisions/adopt.md names has its test here or in test/unit/adopt-limits.test.ts.
 */
import { createStore as publishedStore } from '@brainstack/microstore'
import { expect } from 'chai'
import { createStore, type Master, type Slave } from 'named-master'
import { initialState, InPlaceStore, LateStore, SomeStore, TellingStore, type State } from '../suites/foreign-stores.js'
import { failure, hears, Setting, shows } from '../suites/setting.js'

interface Kind {
  readonly kind: string
  readonly make: () => SomeStore
  readonly inPlace?: boolean
  /** Whether what its program emits reaches slaves as an event: not where `subscribe` tells of changes alone. */
  readonly events: boolean
}

/** The published package: `getState`, `mutate` and so on are functions of an object without a class. */
const published = (): SomeStore =>
  publishedStore({ initializer: initialState() as never, eventHubOptions: [] }) as unknown as SomeStore

const KINDS: readonly Kind[] = [
  { kind: 'the published microstore', make: published, events: false },
  { kind: 'a bare object with the four methods', make: () => new SomeStore(), events: true },
  { kind: 'one that is changed in place', make: () => new InPlaceStore(), inPlace: true, events: true },
  { kind: 'one that tells of its changes', make: () => new TellingStore(), events: false },
  { kind: 'one that tells late and several times', make: () => new LateStore(), events: false },
]

describe('stores that are not ours, over wrtc', () => {
  let setting: Setting

  beforeEach(async () => {
    setting = await new Setting().open()
  })
  afterEach(() => setting.close())

  /** Serves the store to two slaves. */
  async function serve(
    store: SomeStore,
    inPlace = false,
  ): Promise<{ master: Master; one: Slave<State>; two: Slave<State> }> {
    const master = setting.master(store, { inPlace })
    expect(await master.startServer('garage')).to.equal('registered')
    return { master, one: await setting.connected<State>('garage'), two: await setting.connected<State>('garage') }
  }

  /** Changes the store as its kind does. */
  const change = ({ inPlace }: Kind, store: SomeStore, program: (state: State) => void): void =>
    store.mutate((state) => {
      if (inPlace === true) return program(state)
      const copy = structuredClone(state)
      program(copy)
      return copy
    })

  /** All have this state, the store included. */
  async function all(state: State, store: SomeStore, ...slaves: Slave<State>[]): Promise<void> {
    const text = JSON.stringify(state)
    for (const slave of slaves)
      expect(await shows(slave, (shown) => JSON.stringify(shown) === text)).to.deep.equal(state)
    expect(store.getState()).to.deep.equal(state)
  }

  for (const given of KINDS) {
    const { kind, make, inPlace = false, events } = given
    describe(kind, () => {
      let store: SomeStore
      let master: Master
      let one: Slave<State>
      let two: Slave<State>

      beforeEach(async () => {
        store = make()
        store.on('add', (payload) => change(given, store, (state) => void (state.n += (payload as { by: number }).by)))
        ;({ master, one, two } = await serve(store, inPlace))
      })

      it('is seen, emitted to and mutated by slaves, and its own changes are seen', async () => {
        const heard: unknown[] = []
        two.on('add', (_state, payload) => void heard.push(payload))
        one.emit('add', { by: 2 })
        await one.settled()
        two.mutate((state) => ({ ...state, list: [...state.list, 3] }))
        await two.settled()
        change(given, store, (state) => (state.deep.x = { y: 1 }))
        await all({ n: 2, list: [1, 2, 3], deep: { x: { y: 1 } } }, store, one, two)
        expect(heard).to.deep.equal([{ by: 2 }])
      })

      it(`has its program's own events heard by slaves ${events ? 'as events' : 'as changes alone'}`, async () => {
        const heard: unknown[] = []
        one.on('add', (_state, payload) => void heard.push(payload))
        store.emit('add', { by: 5 })
        await all({ ...initialState(), n: 5 }, store, one)
        expect(heard).to.deep.equal(events ? [{ by: 5 }] : [])
      })

      it('loses no update of two slaves and the program that all change one place', async () => {
        const times = 10
        for (let i = 0; i < times; i++) {
          one.mutate((state) => ({ ...state, n: state.n + 1 }))
          two.mutate((state) => ({ ...state, n: state.n + 1 }))
          change(given, store, (state) => void state.n++)
          one.emit('add', { by: 1 })
        }
        await Promise.all([one.settled(), two.settled()])
        await all({ ...initialState(), n: 4 * times }, store, one, two)
      })

      it('refuses what its handler throws at: undone at the slave and in the store; others go on', async () => {
        store.on('half', () => {
          change(given, store, (state) => void (state.list.length = 0))
          throw new Error('The shelf is full')
        })
        one.on('half', (state) => ({ ...state, list: [] }))
        one.emit('half')
        expect(one.getState().list).to.deep.equal([])
        expect(await failure(one.settled())).to.include({ code: 'handler-failed', message: 'The shelf is full' })
        two.emit('add', { by: 1 })
        await two.settled()
        await all({ ...initialState(), n: 1 }, store, one, two)
      })

      it('refuses a slave’s event that makes its state no JSON, and takes it back; others go on', async () => {
        store.on('spoil', () => change(given, store, (state) => (state.deep.x = new Date(0))))
        one.emit('spoil')
        const refused = await failure(one.settled())
        expect(refused.code).to.equal('invalid-json')
        expect(refused.message).to.include('/deep/x')
        two.emit('add', { by: 1 })
        await two.settled()
        await all({ ...initialState(), n: 1 }, store, one, two)
      })

      it('is an ordinary store again when its master is closed', async () => {
        await master.close()
        store.emit('add', { by: 1 })
        change(given, store, (state) => (state.deep.x = new Date(0)))
        expect(store.getState()).to.deep.equal({ n: 1, list: [1, 2], deep: { x: new Date(0) } })
      })
    })
  }

  describe('what is lost', () => {
    it('the published package loses payloads that are no objects, and hands its handlers one argument', async () => {
      const store = published()
      const heard: unknown[][] = []
      store.on('add', (...given: unknown[]) => void heard.push(given))
      const { one } = await serve(store)
      one.emit('add', 5)
      one.emit('add', { by: 5 })
      await one.settled()
      const [[first], [second]] = heard as [[object], [object]]
      expect(heard.map((given) => given.length)).to.deep.equal([1, 1])
      expect(first).to.have.all.keys('event', 'headers')
      expect(second).to.include({ event: 'add', by: 5 })
    })

    it('its "state.changed" stays at home, and a slave may not say it', async () => {
      const store = published()
      const { one, two } = await serve(store)
      const heard: string[] = []
      two.on(/.*/, (_state, _payload, { event }) => void heard.push(event))
      store.mutate((state) => ({ ...state, n: 1 }))
      one.emit('state.changed')
      expect((await failure(one.settled())).code).to.equal('not-allowed')
      one.emit('last')
      await one.settled()
      await shows(two, ({ n }) => n === 1)
      one.mutate((state) => ({ ...state, n: 2 }))
      await shows(two, ({ n }) => n === 2)
      expect(heard).to.deep.equal(['last'])
    })

    it('volatile events pass the store by, and reach the other slaves', async () => {
      const store = new SomeStore()
      let ran = false
      store.on('cursor', () => (ran = true))
      const { one, two } = await serve(store)
      const heard = new Promise((resolve) => two.on('cursor', (_state, payload) => resolve(payload)))
      one.volatile.emit('cursor', { x: 1 })
      expect(await heard).to.deep.equal({ x: 1 })
      expect(ran).to.equal(false)
    })

    it('what its program puts into the state that is no JSON: left out for slaves, who go on, and logged', async () => {
      const store = new LateStore()
      const { one, two } = await serve(store)
      store.mutate((state) => ({ ...state, n: 1, deep: { x: new Map([[1, 2]]) } }))
      await shows(one, ({ n }) => n === 1)
      expect(one.getState()).to.deep.equal({ n: 1, list: [1, 2], deep: {} })
      two.mutate((state) => ({ ...state, n: state.n + 1 }))
      await two.settled()
      expect(store.getState()).to.deep.equal({ n: 2, list: [1, 2], deep: { x: new Map([[1, 2]]) } })
      const lines = setting.journal.lines.filter((line) => line.startsWith('error'))
      expect(lines).to.have.lengthOf(1)
      expect(lines[0]).to.include('an instance of Map cannot travel (at "/deep/x")')
    })

    it('a slave’s mutate, by a store that does not use what a mutator returns: refused, until it is said { inPlace: true }', async () => {
      const store = new InPlaceStore()
      const { one } = await serve(store)
      const refused = hears(one.events, 'refused')
      one.mutate((state) => ({ ...state, n: 1 }))
      const [{ code, message }] = await refused
      expect([code, one.getState(), store.getState()]).to.deep.equal(['handler-failed', initialState(), initialState()])
      expect(message).to.include('inPlace')
    })

    it('changes in place that nobody was told of are found out, and the log says what to do', async () => {
      const store = new InPlaceStore()
      const { one } = await serve(store)
      store.mutate((state) => void state.n++)
      await shows(one, ({ n }) => n === 1)
      expect(setting.journal.lines.join('\n')).to.include('give { inPlace: true } to its Master')
    })
  })

  it('a state that cannot travel is refused when the master is made', () => {
    expect(() => setting.master(new SomeStore({ ...initialState(), deep: { x: new Set() } })))
      .to.throw('/deep/x')
      .with.property('code', 'invalid-json')
  })

  it('one store has one master at a time', async () => {
    for (const store of [createStore(initialState()), new SomeStore()]) {
      const first = setting.master(store)
      expect(() => setting.master(store)).to.throw(TypeError, 'already has a master')
      await first.close()
      setting.master(store)
    }
  })
})
