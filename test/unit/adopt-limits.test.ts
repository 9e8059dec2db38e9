/** What a foreign store may do that ours never does: each ends in a coded error at whoever caused it, and no more. */
import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import type { Patch } from '#src/protocol/replication.js'
import { adopt, type ForeignStore } from '#src/store/adopt.js'
import { patched } from '#src/store/follow.js'
import type { StoreChange } from '#src/store/store.js'
import { initialState, InPlaceStore, LateStore, SomeStore, TellingStore, type State } from '../suites/foreign-stores.js'

function owned(foreign: ForeignStore, options: { inPlace?: boolean } = {}) {
  const reported: NamedMasterError[] = []
  const changes: StoreChange[] = []
  const core = adopt(foreign, { ...options, report: (error) => reported.push(error as NamedMasterError) })
  const release = core.own({
    admit: () => undefined,
    changed: (change) => void changes.push(change),
    volatile: () => undefined,
  })
  const told = () => reported.splice(0).map(({ code, message }) => `${code} ${/at "([^"]*)"/.exec(message)?.[1] ?? ''}`)
  const origins = () => changes.splice(0).map(({ origin }) => origin?.client)
  return { core, changes, told, origins, release }
}

const origin = { client: 1, seq: 1 }
const event = (name: string) => ({ event: name, id: 'id', at: 1 })
const set = (path: string, value: unknown): Patch => [{ op: 'replace', path, value: value as never }]

describe('adopt: what a foreign store may do', () => {
  describe('a state that cannot travel', () => {
    const cycle: Record<string, unknown> = { name: 'itself' }
    cycle['below'] = { again: cycle }
    const deep = JSON.parse('['.repeat(200) + ']'.repeat(200)) as unknown
    const cases: readonly (readonly [string, unknown, unknown, string])[] = [
      ['a Date', new Date(), undefined, '/deep/x'],
      ['a Map', new Map(), undefined, '/deep/x'],
      ['a function', () => 1, undefined, '/deep/x'],
      ['NaN', NaN, undefined, '/deep/x'],
      ['a Date in an array', [1, new Date(), 2], [1, null, 2], '/deep/x/1'],
      ['undefined in an array', [1, undefined], [1, null], '/deep/x/1'],
      ['a cycle', cycle, { name: 'itself', below: {} }, '/deep/x/below/again'],
      ['a key that reaches a prototype', JSON.parse('{"a": 1, "__proto__": {}}'), { a: 1 }, '/deep/x/__proto__'],
      ['a getter that throws', { a: 1, get b() { throw new Error('no') } }, { a: 1 }, '/deep/x/b'], // prettier-ignore
    ]
    for (const [what, value, travels, path] of cases) {
      const shadow = { ...initialState(), n: 1, deep: travels === undefined ? {} : { x: travels } }

      it(`${what}: the program is told where, and slaves get the rest`, () => {
        const store = new SomeStore()
        const { core, told } = owned(store)
        expect(() => store.mutate((state) => ({ ...state, n: 1, deep: { x: value } })))
          .throw(NamedMasterError, `"${path}"`)
          .with.property('code', 'invalid-json')
        expect(core.value).deep.equal(shadow)
        expect(core.emit(event('other'), origin).change.patch, 'a slave is not told of it').deep.equal([])
        store.mutate((state) => ({ ...state, n: 2, deep: { x: 'well again' } }))
        expect(core.value).deep.equal({ ...shadow, n: 2, deep: { x: 'well again' } })
        expect(told()).deep.equal([])
      })

      it(`${what}, from a slave’s event: it is refused and taken back`, () => {
        const store = new TellingStore()
        const { core, changes, told } = owned(store)
        store.on('spoil', () => store.mutate((state) => ({ ...state, n: 1, deep: { x: value } })))
        expect(() => core.emit(event('spoil'), origin))
          .throw(NamedMasterError, `"${path}"`)
          .with.property('code', 'invalid-json')
        expect([store.state, core.value, changes, told()]).deep.equal([initialState(), initialState(), [], []])
      })

      it(`${what}, of a store with subscribe: nothing is thrown at its listeners, the log has it once`, () => {
        const store = new TellingStore()
        const { core, told } = owned(store)
        let heard = 0
        store.subscribe(() => heard++)
        store.mutate((state) => ({ ...state, n: 1, deep: { x: value } }))
        expect([heard, core.value, told()]).deep.equal([1, shadow, [`invalid-json ${path}`]])
        store.mutate((state) => ({ ...state, n: 2 }))
        expect([core.value, told()]).deep.equal([{ ...shadow, n: 2 }, []])
      })

      it(`${what}, in place: the program is told once, slaves go on`, () => {
        const store = new InPlaceStore()
        const { core, told } = owned(store, { inPlace: true })
        store.on('add', () => store.mutate((state) => void state.n++))
        const spoil = () => store.mutate((state) => void ((state.n = 1), (state.deep.x = value)))
        expect(spoil).throw(NamedMasterError, `"${path}"`)
        expect(core.value).deep.equal(shadow)
        core.emit(event('add'), origin)
        core.patch(set('/list/0', 'a'), origin, () => true)
        expect([core.value, told()]).deep.equal([{ ...shadow, n: 2, list: ['a', 2] }, []])
        expect(Object.is(store.state.deep.x, value)).equal(true)
      })
    }

    it('too deep: what is within 128 levels travels, and what is below is told', () => {
      const store = new SomeStore()
      const { core } = owned(store)
      expect(() => store.mutate((state) => ({ ...state, n: 1, deep: { x: deep } }))).throw(
        NamedMasterError,
        'too deeply',
      )
      expect((core.value as unknown as State).n).equal(1)
      const deeper = () => store.mutate((state) => ({ ...state, n: 2, deep: { x: [state.deep.x] } }))
      expect(deeper).throw(NamedMasterError, 'too deeply')
      expect((core.value as unknown as State).n).equal(2)
      store.mutate((state) => ({ ...state, deep: { x: 1 } }))
      expect(core.value).deep.equal({ ...initialState(), n: 2, deep: { x: 1 } })
    })

    it('a cycle that becomes another thing, and one that was none', () => {
      const store = new SomeStore()
      const { core, told } = owned(store)
      const looped: Record<string, unknown> = {}
      looped['self'] = looped
      expect(() => store.mutate((state) => ({ ...state, deep: { x: looped } }))).throw(NamedMasterError, 'itself')
      store.mutate((state) => ({ ...state, deep: { x: { self: { a: 1 } } } }))
      expect(core.value).deep.equal({ ...initialState(), deep: { x: { self: { a: 1 } } } })
      const again: Record<string, unknown> = {}
      again['self'] = { a: 2, back: again }
      expect(() => store.mutate((state) => ({ ...state, deep: { x: again } }))).throw(
        NamedMasterError,
        '/deep/x/self/back',
      )
      expect([core.value, told()]).deep.equal([{ ...initialState(), deep: { x: { self: { a: 2 } } } }, []])
    })

    it('as a whole: slaves keep what they had', () => {
      const store = new SomeStore()
      const { core, changes } = owned(store)
      for (const root of [new Map(), undefined]) {
        expect(() => store.mutate(() => (store.state = root as never))).throw(NamedMasterError, '(at "")')
        expect([core.value, changes]).deep.equal([initialState(), []])
      }
      store.mutate(() => ({ ...initialState(), n: 5 }))
      expect(core.value).deep.equal({ ...initialState(), n: 5 })
    })
  })

  describe('changes in place that nobody was told of', () => {
    for (const Store of [InPlaceStore, class extends TellingStore {}]) {
      const kind = Store === InPlaceStore ? 'without subscribe' : 'with subscribe'
      it(`is found out at the first one, ${kind}: all of it is compared from then on, and the log says what to do`, () => {
        const store = new Store()
        const { core, told } = owned(store)
        store.on('add', () => store.mutate((state) => void state.n++))
        core.emit(event('add'), origin)
        expect([core.value, told()]).deep.equal([{ ...initialState(), n: 1 }, ['invalid-config ']])
        store.mutate((state) => void (state.deep.x = 1))
        core.patch(set('/list/0', 'a'), origin, () => true)
        expect([core.value, told()]).deep.equal([{ n: 1, list: ['a', 2], deep: { x: 1 } }, []])
        expect(store.state).deep.equal(core.value)
      })
    }

    it('is trusted after twenty mutates that changed nothing; then what has the same reference is not looked at', () => {
      const store = new InPlaceStore()
      const { core, told } = owned(store)
      for (let times = 0; times < 20; times++) store.mutate(() => undefined)
      store.mutate((state) => void state.n++)
      expect([core.value, told()]).deep.equal([initialState(), []])
    })
  })

  describe('a slave’s mutate', () => {
    it('is refused by a store that does not use what a mutator returns', () => {
      const store = new InPlaceStore()
      const { core, changes } = owned(store)
      expect(() => core.patch(set('/n', 1), origin, () => true))
        .throw(NamedMasterError, 'did not take')
        .with.property('code', 'handler-failed')
      expect([store.state, core.value, changes]).deep.equal([initialState(), initialState(), []])
    })

    it('is refused by a store that mutates later, and does nothing there then', async () => {
      class Queueing extends TellingStore {
        override mutate(mutator: (state: State) => State | void): void {
          queueMicrotask(() => super.mutate(mutator))
        }
      }
      for (const inPlace of [false, true]) {
        const store = new Queueing()
        const { core } = owned(store, { inPlace })
        expect(() => core.patch(set('/n', 1), origin, () => true)).throw(NamedMasterError, 'did not take')
        store.mutate((state) => ({ ...state, deep: { x: 1 } }))
        await Promise.resolve()
        expect([store.state, core.value]).deep.equal(Array(2).fill({ ...initialState(), deep: { x: 1 } }))
      }
    })

    it('of which the store makes something else: that is a change of the program’s own', () => {
      class Rounding extends TellingStore {
        override mutate(mutator: (state: State) => State | void): void {
          super.mutate((state) => {
            const next = mutator(state) ?? state
            return { ...next, n: Math.round(next.n) }
          })
        }
      }
      const store = new Rounding()
      const { core, origins, told } = owned(store)
      core.patch(set('/n', 1.6), origin, () => true)
      expect([core.value, origins()]).deep.equal([{ ...initialState(), n: 2 }, [1, undefined]])
      expect(told()).deep.equal([])
      expect(store.state).deep.equal(core.value)
    })

    it('and what listeners of the store change at it', () => {
      const store = new TellingStore()
      store.subscribe(() => {
        if (store.state.deep.x !== store.state.n) store.mutate((state) => ({ ...state, deep: { x: state.n } }))
      })
      const { core, origins, told } = owned(store)
      core.patch(set('/n', 3), origin, () => true)
      expect([core.value, origins()]).deep.equal([{ ...initialState(), n: 3, deep: { x: 3 } }, [1, undefined]])
      expect(told()).deep.equal([])
    })
  })

  it('a change past emit and mutate is noticed before the next one of a slave, and is the program’s own', () => {
    const store = new SomeStore()
    const { core, origins } = owned(store)
    store.state = { ...store.state, deep: { x: 'aside' } }
    core.patch(set('/n', 1), origin, () => true)
    store.state = { ...store.state, deep: { x: 'again' } }
    store.on('fail', () => {
      throw new Error('no')
    })
    expect(() => core.emit(event('fail'), origin)).throw('no')
    expect([core.value, origins()]).deep.equal([
      { ...initialState(), n: 1, deep: { x: 'again' } },
      [undefined, 1, undefined],
    ])
    expect(store.state).deep.equal(core.value)
  })

  it('told late and several times, makes one change of one', async () => {
    const store = new LateStore()
    const { core, origins } = owned(store)
    store.on('add', () => store.mutate((state) => ({ ...state, n: state.n + 1 })))
    core.emit(event('add'), origin)
    store.mutate((state) => ({ ...state, n: state.n + 1 }))
    await Promise.resolve()
    expect([core.value, origins()]).deep.equal([{ ...initialState(), n: 2 }, [1, undefined]])
  })

  it('what a handler changes after an await is a change of the program’s own', async () => {
    const store = new SomeStore()
    const { core, origins } = owned(store)
    store.on('later', () => void Promise.resolve().then(() => store.mutate((state) => ({ ...state, n: 1 }))))
    core.emit(event('later'), origin)
    await Promise.resolve()
    expect([core.value, origins()]).deep.equal([{ ...initialState(), n: 1 }, [1, undefined]])
  })

  it('in place: a failed change of a slave stays where the state has parts that cannot travel, and is the program’s own', () => {
    const store = new InPlaceStore()
    const { core, origins } = owned(store, { inPlace: true })
    const now = new Date()
    expect(() => store.mutate((state) => void (state.deep.x = now))).throw('/deep/x')
    store.on('half', () => {
      store.mutate((state) => void state.n++)
      throw new Error('no room')
    })
    expect(() => core.emit(event('half'), origin)).throw('no room')
    expect(store.state).deep.equal({ n: 1, list: [1, 2], deep: { x: now } })
    expect([core.value, origins()]).deep.equal([{ n: 1, list: [1, 2], deep: {} }, [undefined, undefined]])
  })

  it('an emit that throws, always: the slave is refused, the program is thrown at', () => {
    const store = new SomeStore()
    store.emit = () => {
      throw new Error('no events today')
    }
    const { core, changes } = owned(store)
    expect(() => core.emit(event('e'), origin))
      .throw('no events today')
      .with.property('code', 'handler-failed')
    expect(() => store.emit('e'))
      .throw('no events today')
      .not.property('code')
    expect(changes).deep.equal([])
  })

  it('a getState that throws later: the slave is refused, and it goes on when it works again', () => {
    const store = new SomeStore()
    const { core, told } = owned(store)
    store.getState = () => {
      throw new Error('asleep')
    }
    expect(() => core.emit(event('e'), origin))
      .throw('asleep')
      .with.property('code', 'handler-failed')
    Reflect.deleteProperty(store, 'getState')
    expect(told()).not.deep.equal([])
    store.mutate((state) => ({ ...state, n: 1 }))
    expect(core.value).deep.equal(store.state)
  })

  it('what the store itself says is no slave’s to say', () => {
    const store = new TellingStore()
    const { core } = owned(store)
    expect(() => core.emit(event('state.changed'), origin))
      .throw()
      .with.property('code', 'not-allowed')
  })

  it('one that cannot be stood in for is refused at once', () => {
    const { on, emit, getState, mutate } = new SomeStore()
    expect(() => adopt(Object.freeze({ on, emit, getState: getState.bind(new SomeStore()), mutate }))).throw(
      TypeError,
      'frozen',
    )
  })

  it('is as it was when it is let go, and tells us nothing more', () => {
    const bare = new SomeStore()
    owned(bare).release()
    expect(Object.keys(bare)).deep.equal(Object.keys(new SomeStore()))
    const deaf = Object.assign(new TellingStore(), { subscribe: (listener: () => void) => void telling.add(listener) })
    const telling = deaf.listeners
    const { core, changes, release } = owned(deaf)
    release()
    deaf.mutate((state) => ({ ...state, n: 1 }))
    expect([changes, core.version]).deep.equal([[], 0])
  })
})

describe('a patch for a foreign state', () => {
  it('copies what it writes to once, however often it does, and leaves the state as it was', () => {
    const wide = Array.from({ length: 1000 }, () => 0)
    const patch = wide.map((_, n) => ({ op: 'replace' as const, path: `/wide/${n}`, value: n }))
    // A copy of an array iterates over it.
    let copies = 0
    const iterate = Array.prototype[Symbol.iterator]
    Array.prototype[Symbol.iterator] = function (this: unknown[]) {
      if (this.length === 1000 && this !== patch) copies++
      return iterate.call(this)
    } as typeof iterate
    let after: unknown
    try {
      after = patched({ wide }, patch, false)
    } finally {
      Array.prototype[Symbol.iterator] = iterate
    }
    expect(copies).equal(1)
    expect(after).deep.equal({ wide: wide.map((_, n) => n) })
    expect(wide.every((element) => element === 0)).equal(true)
  })
})
