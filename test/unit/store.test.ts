import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import { envelope } from '#src/protocol/envelope.js'
import { parseDown } from '#src/protocol/replication.js'
import type { EventInfo, StoreListener } from '#src/store/microstore.js'
import { coreOf, createStore, type StoreChange, type StoreCore } from '#src/store/store.js'

type Told = Parameters<StoreListener>[0]

const code = (of: string) => (error: unknown) => error instanceof NamedMasterError && error.code === of

function coreFrom(store: object): StoreCore {
  const core = coreOf(store)
  if (core === undefined) expect.fail('a store of createStore has a core')
  return core
}

/** What an owner of the store hears. */
function owned(store: object): { changes: StoreChange[]; volatiles: string[]; core: StoreCore; release: () => void } {
  const core = coreFrom(store)
  const changes: StoreChange[] = []
  const volatiles: string[] = []
  const release = core.own({
    admit: () => undefined,
    changed: (change) => void changes.push(change),
    volatile: ({ event }) => void volatiles.push(event),
  })
  return { changes, volatiles, core, release }
}

describe('store', () => {
  it('runs the handlers of an event when it is emitted: what they return is the state', () => {
    const store = createStore({ count: 0 })
    store.on('increment', (state, by: number) => ({ ...state, count: state.count + by }))
    store.emit('increment', 2)
    store.emit('nobody')
    expect(store.getState()).deep.equal({ count: 2 })
    expect(store.getState(({ count }) => count)).equal(2)
  })

  it('lets a handler change the given state in place instead', () => {
    const store = createStore({ list: [1] })
    store.on('push', ({ list }, value: number) => void list.push(value))
    store.emit('push', 2)
    expect(store.getState()).deep.equal({ list: [1, 2] })
  })

  it('returns the new state from mutate, whose mutator may return a value or change in place', () => {
    const store = createStore({ n: 0 })
    expect(store.mutate((state) => ({ n: state.n + 1 }))).deep.equal({ n: 1 })
    expect(store.mutate((state) => void state.n++)).deep.equal({ n: 2 })
    expect(store.mutate((state) => void state.n++)).equal(store.getState())
    expect(
      store.mutate(() => undefined),
      'nothing',
    ).deep.equal({ n: 3 })
  })

  it('holds any JSON value', () => {
    for (const value of [null, 0, 'text', true, [1], {}]) expect(createStore(value).getState()).deep.equal(value)
    const store = createStore(1)
    expect(store.mutate((n) => n + 1)).equal(2)
  })

  it('copies the state at the door, and refuses what JSON cannot carry with its path', () => {
    const initial = { list: [{ n: 0 }] }
    const store = createStore(initial)
    initial.list.push({ n: 1 })
    expect(store.getState()).deep.equal({ list: [{ n: 0 }] })
    expect(() => createStore({ at: [new Date()] }))
      .throw(NamedMasterError, '/at/0')
      .with.property('code', 'invalid-json')
    expect(() => store.mutate((state) => void (state.list[0] = { n: NaN }))).throw(NamedMasterError, '/list/0/n')
    const item = { n: 5 }
    store.mutate(({ list }) => void list.push(item))
    item.n = 6
    expect(store.getState().list[1]).deep.equal({ n: 5 })
  })

  it('undoes everything of an emit when a handler throws, and throws handler-failed with its sentence and cause', () => {
    const store = createStore({ log: [] as string[] })
    const told: Told[] = []
    const fault = new Error('no room')
    store.subscribe((change) => told.push(change))
    store.on('a', ({ log }) => void log.push('a'))
    store.on('a', () => store.emit('b'))
    store.on('b', () => {
      throw fault
    })
    const before = store.getState()
    expect(() => store.emit('a'))
      .throw(NamedMasterError, 'no room')
      .includes({ code: 'handler-failed', cause: fault })
    expect(store.getState()).equal(before)
    expect(told).deep.equal([])
    expect(coreFrom(store).version).equal(0)
  })

  it('throws what a mutator throws, as it is, and undoes what it did', () => {
    const store = createStore({ n: 0 })
    const fault = new RangeError('mine')
    const before = store.getState()
    expect(() =>
      store.mutate((state) => {
        state.n = 1
        throw fault
      }),
    ).throw(fault)
    expect(store.getState()).equal(before)
  })

  it('calls it ambiguous-mutator when a handler or a mutator changes the state and returns another', () => {
    const store = createStore({ n: 0 })
    const both = (state: { n: number }) => {
      state.n = 1
      return { n: 2 }
    }
    store.on('both', both)
    expect(() => store.emit('both'))
      .throw()
      .satisfies(code('ambiguous-mutator'))
    expect(() => store.mutate(both))
      .throw()
      .satisfies(code('ambiguous-mutator'))
    expect(store.getState()).deep.equal({ n: 0 })
  })

  it('refuses a promise', () => {
    const store = createStore({ n: 0 })
    const late = (async () => ({ n: 1 })) as never
    store.on('late', late)
    expect(() => store.emit('late')).throw(NamedMasterError, 'synchronous')
    expect(() => store.mutate(late)).throw(NamedMasterError, 'synchronous')
    expect(store.getState()).deep.equal({ n: 0 })
  })

  it('is busy inside a handler or a mutator: mutate, and emit in a mutator, throw store-busy', () => {
    const store = createStore({ n: 0 })
    const attempts: (() => void)[] = [() => store.mutate(() => undefined), () => store.volatile.emit('v')]
    for (const attempt of attempts) {
      const off = store.on('e', attempt)
      expect(() => store.emit('e'))
        .throw()
        .satisfies(code('store-busy'))
      off()
    }
    for (const attempt of [...attempts, () => store.emit('e')]) {
      expect(() => store.mutate(attempt))
        .throw()
        .satisfies(code('store-busy'))
    }
    expect(
      store.mutate((state) => void state.n++),
      'and is free afterwards',
    ).deep.equal({ n: 1 })
  })

  it('makes one commit of an event and all that is emitted inside: ids, order and time follow from the outer', () => {
    const store = createStore({ log: [] as string[] })
    const { changes } = owned(store)
    const infos: EventInfo[] = []
    store.on(/./, ({ log }, _, info) => {
      infos.push(info)
      log.push(info.event)
    })
    store.on('a', () => {
      store.emit('b', { x: 1 })
      store.emit('c')
    })
    store.on('b', () => store.emit('d'))
    store.emit('a')
    expect(store.getState().log).deep.equal(['a', 'b', 'c', 'd'])
    expect(changes).length(1)
    const [{ version, change, events }] = changes as [StoreChange]
    expect(version).equal(1)
    expect(change.patch).length(4)
    const { id, at } = events[0] as { id: string; at: number }
    expect(events).deep.equal([
      { event: 'a', id, at },
      { event: 'b', id: `${id}/1`, at, payload: { x: 1 } },
      { event: 'c', id: `${id}/2`, at },
      { event: 'd', id: `${id}/3`, at },
    ])
    expect(infos.map((info) => [info.id, info.at, info.phase, info.origin])).deep.equal(
      events.map((event) => [event.id, at, 'commit', undefined]),
    )
  })

  it('calls more than 1,000 events in one commit handler-failed, also when the handler looks away', () => {
    const store = createStore({ n: 0 })
    const { changes } = owned(store)
    store.on('many', (state, inner: number) => {
      for (let i = 0; i < inner; i++) store.emit('inner')
      state.n++
    })
    store.emit('many', 999)
    expect(changes[0]?.events).length(1000)
    expect(() => store.emit('many', 1000))
      .throw()
      .satisfies(code('handler-failed'))
    const endless = createStore({ n: 0 })
    endless.on('again', () => endless.emit('again'))
    expect(() => endless.emit('again'))
      .throw()
      .satisfies(code('handler-failed'))
    const deaf = createStore({ n: 0 })
    deaf.on('many', (state) => {
      state.n++
      for (let i = 0; i < 1000; i++) {
        try {
          deaf.emit('inner')
        } catch {
          // as a careless handler may
        }
      }
    })
    expect(() => deaf.emit('many'))
      .throw()
      .satisfies(code('handler-failed'))
    expect(deaf.getState()).deep.equal({ n: 0 })
  })

  it('tells listeners after each change, with its version and the paths that changed', () => {
    const store = createStore({ n: 0, list: [0], deep: { x: 1, y: 2 } })
    const told: Told[] = []
    const off = store.subscribe((change) => told.push(change))
    store.mutate((state) => void state.n++)
    store.emit('nobody')
    store.mutate(() => undefined)
    store.mutate(({ list, deep }) => {
      list.push(1)
      deep.x = 2
      deep.y = 3
    })
    off()
    store.mutate((state) => void state.n++)
    expect(told).deep.equal([
      { version: 1, paths: ['/n'] },
      { version: 3, paths: ['/deep/x', '/deep/y', '/list/-'] },
    ])
  })

  it('tells in order: what a listener changes is told when all have heard of what was before', () => {
    const store = createStore({ n: 0 })
    const heard: string[] = []
    store.subscribe(({ version }) => {
      heard.push(`first ${version}`)
      if (version === 1) store.mutate((state) => void state.n++)
    })
    store.subscribe(({ version }) => heard.push(`second ${version}`))
    store.mutate((state) => void state.n++)
    expect(heard).deep.equal(['first 1', 'second 1', 'first 2', 'second 2'])
  })

  it('lets no listener that throws keep it from the others, or from what comes next', () => {
    const reported: unknown[] = []
    const store = createStore(
      { n: 0 },
      {
        report: (error) => {
          reported.push(error)
          throw new Error('the report as well')
        },
      },
    )
    const heard: number[] = []
    store.subscribe(() => {
      throw new Error('mine')
    })
    store.subscribe(({ version }) => heard.push(version))
    for (const turn of [1, 2]) {
      expect(() => store.mutate((state) => void state.n++), `${turn}`).throw('the report as well')
    }
    expect(reported).length(2)
    expect(store.getState().n).equal(2)
    store.emit('still works')
  })

  it('runs the handlers of a volatile event once, phase volatile, on a draft that is thrown away', () => {
    const reported: unknown[] = []
    const store = createStore({ n: 0 }, { report: (error) => void reported.push(error) })
    const { volatiles, changes } = owned(store)
    const phases: string[] = []
    store.on('v', (state, _, { phase, origin }) => {
      phases.push(phase)
      expect(origin).equal(undefined)
      state.n++
    })
    store.on('v', () => store.emit('inside'))
    store.on('v', () => ({ n: 9 }))
    store.volatile.emit('v', { x: 1 })
    expect(phases).deep.equal(['volatile'])
    expect(store.getState()).deep.equal({ n: 0 })
    expect(reported)
      .length(1)
      .and.satisfies(([error]: unknown[]) => code('store-busy')(error))
    expect([volatiles, changes]).deep.equal([['v'], []])
    coreFrom(store).volatile({ event: 'v', id: 'id', at: 1 }, undefined)
    expect(volatiles, 'what came is not announced').deep.equal(['v'])
  })

  it('refuses a misused API with a TypeError', () => {
    const store = createStore({})
    const misuses = [
      () => store.on('', () => undefined),
      () => store.on('x'.repeat(257), () => undefined),
      () => store.on('e', undefined as never),
      () => store.emit(5 as never),
      () => store.subscribe({} as never),
    ]
    for (const misuse of misuses) expect(misuse).throw(TypeError)
  })

  it('freezes what it hands out, where asked to', () => {
    const store = createStore({ deep: { n: 0 } }, { freeze: true })
    store.mutate(({ deep }) => void (deep.n = 1))
    expect(() => (store.getState().deep.n = 2)).throw(TypeError)
    const free = createStore({ deep: { n: 0 } }, { freeze: false })
    free.mutate(({ deep }) => void (deep.n = 1))
    expect(Object.isFrozen(free.getState())).equal(false)
  })

  describe('its core', () => {
    it('is known for stores of createStore only', () => {
      expect(coreOf({})).equal(undefined)
    })

    it('tells its owner of a change before any listener', () => {
      const store = createStore({ n: 0 })
      const order: string[] = []
      store.subscribe(() => order.push('listener'))
      coreFrom(store).own({
        admit: () => void order.push('admit'),
        changed: () => void order.push('owner'),
        volatile: () => undefined,
      })
      store.mutate((state) => void state.n++)
      expect(order).deep.equal(['admit', 'owner', 'listener'])
    })

    it('has one owner at most, until it lets go', () => {
      const store = createStore({ n: 0 })
      const { core, release } = owned(store)
      expect(() => owned(store)).throw(TypeError)
      release()
      owned(store)
      expect(core.version).equal(0)
    })

    it('takes a patch back that is not wanted, and one that does not fit', () => {
      const store = createStore({ n: 0 })
      const { core, changes } = owned(store)
      const before = store.getState()
      const origin = { client: 1, seq: 1 }
      expect(core.patch([{ op: 'replace', path: '/n', value: 1 }], origin, () => false)).equal('rejected')
      expect(core.patch([{ op: 'remove', path: '/none' }], origin, () => true)).equal('unfit')
      expect(store.getState()).equal(before)
      expect(core.patch([{ op: 'replace', path: '/n', value: 1 }], origin, () => true)).equal('done')
      expect(changes.map(({ version }) => version)).deep.equal([1])
    })

    it('is restored to a state at a version, and tells that all has changed', () => {
      const store = createStore({ n: 0 })
      const told: Told[] = []
      store.subscribe((change) => told.push(change))
      coreFrom(store).restore({ n: 5 }, 7)
      store.mutate((state) => void state.n++)
      expect(store.getState()).deep.equal({ n: 6 })
      expect(told).deep.equal([
        { version: 7, paths: [''] },
        { version: 8, paths: ['/n'] },
      ])
    })

    it('makes commits that travel, however long the keys of the state are', () => {
      const long = 'k'.repeat(5000)
      const store = createStore<Record<string, unknown>>({ [long]: { [long]: { n: 0, list: [] } }, other: 0 })
      const { changes } = owned(store)
      store.mutate((state) => {
        const inner = (state[long] as Record<string, { n: number; list: number[] }>)[long]
        if (inner === undefined) return
        inner.n = 1
        inner.list.push(1)
        state['other'] = 1
      })
      const [{ version, change }] = changes as [StoreChange]
      const commit = envelope('commit', { version, patch: change.patch, events: [] })
      expect(parseDown(JSON.parse(JSON.stringify(commit)))).include({ ok: true })
      expect(change.patch.map(({ path }) => path)).deep.equal([`/${long}`, '/other'])
      expect([...change.writes.paths]).deep.equal([`/${long}`, '/other'])
    })
  })
})
