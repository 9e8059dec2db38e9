import { createStore as publishedStore } from '@brainstack/microstore'
import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import type { Patch } from '#src/protocol/replication.js'
import { adopt, type ForeignStore } from '#src/store/adopt.js'
import type { StoreChange } from '#src/store/store.js'
import { initialState, SomeStore, TellingStore, type State } from '../suites/foreign-stores.js'
import { Host } from '../suites/replication.js'

function owned(foreign: ForeignStore, options: { inPlace?: boolean } = {}) {
  const core = adopt(foreign, options)
  const changes: StoreChange[] = []
  let full = false
  const release = core.own({
    admit: () => {
      if (full) throw new NamedMasterError('storage-full', 'full')
    },
    changed: (change) => void changes.push(change),
    volatile: () => undefined,
  })
  return {
    core,
    changes,
    release,
    patches: () => changes.splice(0).map(({ change }) => change.patch),
    fill: () => (full = true),
  }
}

const origin = { client: 1, seq: 1 }
const event = (name: string, payload?: never) => ({
  event: name,
  id: 'id',
  at: 1,
  ...(payload === undefined ? {} : { payload }),
})
const set = (path: string, value: never): Patch => [{ op: 'replace', path, value }]

describe('adopt', () => {
  it('wants the four methods', () => {
    for (const missing of ['on', 'emit', 'getState', 'mutate']) {
      const store = Object.assign(new SomeStore(), { [missing]: undefined }) as never
      expect(() => adopt(store)).throw(TypeError, missing)
    }
  })

  it('refuses a state that cannot travel, with the path', () => {
    const store = new SomeStore({ n: 0, list: [new Date()], deep: { x: 0 } })
    expect(() => adopt(store))
      .throw(NamedMasterError, '/list/0')
      .with.property('code', 'invalid-json')
  })

  describe('a store with subscribe', () => {
    it('is left as it is, and what its program changes is noticed', () => {
      const store = new TellingStore()
      const { emit, mutate } = store
      const { patches, changes, core } = owned(store)
      expect([store.emit, store.mutate]).deep.equal([emit, mutate])
      store.mutate((state) => ({ ...state, n: 1, list: [...state.list, 3] }))
      expect(changes.map(({ version, events, origin }) => [version, events, origin])).deep.equal([[1, [], undefined]])
      expect(patches()).deep.equal([
        [
          { op: 'replace', path: '/n', value: 1 },
          { op: 'add', path: '/list/-', value: 3 },
        ],
      ])
      store.mutate((state) => state)
      expect(patches(), 'nothing changed').deep.equal([])
      expect(core.value).deep.equal(store.state)
    })

    it('makes one commit of a slave’s event, whatever it is told meanwhile', () => {
      const store = new TellingStore()
      const { changes, core } = owned(store)
      store.on('inc', (by) => {
        store.mutate((state) => ({ ...state, n: state.n + Number(by) }))
        store.mutate((state) => ({ ...state, n: state.n + Number(by) }))
      })
      core.emit(event('inc', 2 as never), origin)
      expect(changes).length(1)
      expect(changes[0]).deep.include({ version: 1, events: [event('inc', 2 as never)], origin })
      expect(changes[0]?.change.patch).deep.equal(set('/n', 4 as never))
    })

    it('is heard no more once it is let go', () => {
      const store = new TellingStore()
      const { changes, release } = owned(store)
      release()
      store.mutate((state) => ({ ...state, n: 1 }))
      expect(changes).deep.equal([])
      expect(store.listeners.size).equal(0)
    })
  })

  describe('a store without', () => {
    it('has its emit and mutate stood in for, until it is let go', () => {
      const store = new SomeStore()
      const { changes, patches, release } = owned(store)
      store.on('inc', () => store.mutate((state) => ({ ...state, n: state.n + 1 })))
      store.mutate((state) => ({ ...state, n: 1 }))
      expect(patches()).deep.equal([set('/n', 1 as never)])
      store.emit('other', { some: 'payload' })
      expect(changes.splice(0).map(({ events }) => events.map(({ event, payload }) => [event, payload]))).deep.equal([
        [['other', { some: 'payload' }]],
      ])
      release()
      store.mutate((state) => ({ ...state, n: 5 }))
      store.emit('inc')
      expect(changes).deep.equal([])
      expect(store.state.n).equal(6)
    })

    it('makes one commit of an event and all its handlers emit and change', () => {
      const store = new SomeStore()
      const { changes } = owned(store)
      store.on('outer', () => {
        store.mutate((state) => ({ ...state, n: 1 }))
        store.emit('inner', 5)
        store.mutate((state) => ({ ...state, n: state.n + 1 }))
      })
      store.emit('outer')
      expect(changes).length(1)
      const [{ events, change }] = changes as [StoreChange]
      const [outer] = events
      expect(events).deep.equal([
        { event: 'outer', id: outer?.id, at: outer?.at },
        { event: 'inner', id: `${outer?.id}/1`, at: outer?.at, payload: 5 },
      ])
      expect(change.patch).deep.equal(set('/n', 2 as never))
    })

    it('does so for a slave’s event too', () => {
      const store = new SomeStore()
      const { changes, core } = owned(store)
      store.on('outer', () => store.emit('inner'))
      core.emit(event('outer'), origin)
      expect(changes.map(({ events, origin }) => [events, origin])).deep.equal([
        [[event('outer'), { event: 'inner', id: 'id/1', at: 1 }], origin],
      ])
    })

    it('throws on what the program may not do now: storage-full; and nothing of it happens', () => {
      const store = new SomeStore()
      const { fill } = owned(store)
      let ran = false
      store.on('e', () => (ran = true))
      fill()
      for (const change of [() => store.emit('e'), () => store.mutate((state) => ({ ...state, n: 1 }))]) {
        expect(change).throw().with.property('code', 'storage-full')
      }
      expect([store.state.n, ran]).deep.equal([0, false])
    })

    it('refuses an event that cannot travel before it runs', () => {
      const store = new SomeStore()
      const { changes } = owned(store)
      let ran = 0
      store.on('e', () => ran++)
      expect(() => store.emit('e', { at: new Date() })).throw(NamedMasterError, '/at')
      expect(() => store.emit('x'.repeat(300))).throw(TypeError)
      expect([ran, changes]).deep.equal([0, []])
    })

    it('counts what a throwing handler of the program’s own event has changed', () => {
      const store = new SomeStore()
      const { patches } = owned(store)
      store.on('e', () => {
        store.mutate((state) => ({ ...state, n: 1 }))
        throw new Error('mine')
      })
      expect(() => store.emit('e')).throw('mine')
      expect(patches()).deep.equal([set('/n', 1 as never)])
    })
  })

  it('takes slaves’ patches to the store, as a new value that shares what is unchanged', () => {
    const store = new SomeStore()
    const { core, changes } = owned(store)
    const { list, deep } = store.state
    const before = store.state
    const patch: Patch = [
      { op: 'replace', path: '/deep/x', value: { y: 1 } },
      { op: 'add', path: '/n2', value: 1 },
      { op: 'remove', path: '/n2' },
    ]
    expect(core.patch(patch, origin, () => true)).equal('done')
    expect(store.state).deep.equal({ n: 0, list: [1, 2], deep: { x: { y: 1 } } })
    expect(store.state.list).equal(list)
    expect([store.state === before, store.state.deep === deep]).deep.equal([false, false])
    expect(before.deep).deep.equal({ x: 0 })
    core.patch(
      [
        { op: 'add', path: '/list/0', value: 0 },
        { op: 'add', path: '/list/-', value: 3 },
        { op: 'remove', path: '/list/1' },
        { op: 'replace', path: '/list/1', value: 'two' },
      ],
      origin,
      () => true,
    )
    expect(store.state.list).deep.equal([0, 'two', 3])
    expect(core.value).deep.equal(store.state)
    expect(changes).length(2)
    expect(core.patch([{ op: 'replace', path: '', value: { n: 7 } }], origin, () => true)).equal('done')
    expect(store.state).deep.equal({ n: 7 })
  })

  it('gives the store values of its own: neither a patch nor a payload nor a commit changes with it', () => {
    const store = new SomeStore()
    const { core, changes } = owned(store, { inPlace: true })
    const payload = { inner: { n: 0 } }
    const patch = set('/deep/x', { n: 0 } as never)
    store.on('keep', (given) => store.mutate((state) => void state.list.push(given)))
    core.emit(event('keep', payload as never), origin)
    core.patch(patch, origin, () => true)
    const text = JSON.stringify([payload, patch, changes.map(({ change, events }) => [change.patch, events])])
    store.mutate(({ list, deep }) => {
      ;(list[2] as typeof payload).inner.n = 9
      ;(deep.x as { n: number }).n = 9
    })
    const now = JSON.stringify([
      payload,
      patch,
      changes.slice(0, 2).map(({ change, events }) => [change.patch, events]),
    ])
    expect(now).equal(text)
    expect(core.value).deep.equal(store.state)
  })

  it('leaves the store alone when the patch does not fit, or is not wanted', () => {
    const store = new SomeStore()
    const { core, changes } = owned(store)
    const before = store.state
    expect(core.patch(set('/none/x', 1 as never), origin, () => true)).equal('unfit')
    expect(core.patch(set('/n', 1 as never), origin, () => false)).equal('rejected')
    expect([store.state, core.value, changes]).deep.equal([before, before, []])
  })

  it('notices changes in place where it is told to compare all', () => {
    const store = new SomeStore()
    const { patches, core } = owned(store, { inPlace: true })
    store.mutate(({ list, deep }) => {
      list.push({ y: 1 })
      deep.x = 1
    })
    expect(patches()).deep.equal([
      [
        { op: 'add', path: '/list/-', value: { y: 1 } },
        { op: 'replace', path: '/deep/x', value: 1 },
      ],
    ])
    const { state } = store
    core.patch(set('/list/2/y', 2 as never), origin, () => true)
    expect(store.state).equal(state)
    expect(store.state.list).deep.equal([1, 2, { y: 2 }])
    store.mutate((given) => {
      delete (given as Partial<State>).deep
      given.list.length = 1
    })
    expect(core.value).deep.equal({ n: 0, list: [1] })
  })

  for (const inPlace of [false, true]) {
    it(`takes a slave’s event back whose handler throws: handler-failed (${inPlace ? 'in place' : 'by reference'})`, () => {
      const store = new SomeStore()
      const { core, changes } = owned(store, { inPlace })
      store.on('e', () => {
        store.mutate((state) => {
          if (!inPlace) return { ...state, n: 1 }
          state.list.pop()
          state.deep = { x: { y: 1 } }
          return state
        })
        throw new Error('no room')
      })
      expect(() => core.emit(event('e'), origin))
        .throw(NamedMasterError, 'no room')
        .with.property('code', 'handler-failed')
      expect([store.state, core.value, changes]).deep.equal([initialState(), initialState(), []])
    })
  }

  it('refuses a slave’s mutate that the store throws at, and stays in step with it', () => {
    class Guarded extends SomeStore {
      override mutate(mutator: (state: State) => State | void): void {
        const next = mutator(this.state) ?? this.state
        if (next.n > 5) throw new Error('at most 5')
        this.state = next
      }
    }
    const store = new Guarded()
    const host = new Host({}, adopt(store))
    const client = host.client()
    expect(host.mutate(client, set('/n', 9 as never))).deep.equal({
      outcome: 'refused',
      code: 'handler-failed',
      message: 'at most 5',
    })
    expect([host.core.value, host.authority.version, client.lastSeq]).deep.equal([store.state, 0, 0])
    expect(host.mutate(client, set('/n', 3 as never)).outcome).equal('committed')
    expect(store.state.n).equal(3)
  })

  it('is restored to a state at a version', () => {
    const store = new SomeStore()
    const { core, changes } = owned(store)
    core.restore({ n: 3 }, 8)
    expect(store.state).deep.equal({ n: 3 })
    expect([core.value, core.version, changes]).deep.equal([{ n: 3 }, 8, []])
    store.mutate((state) => ({ ...state, n: 4 }))
    expect(changes.map(({ version }) => version)).deep.equal([9])
  })

  it('knows the published microstore', () => {
    const store = publishedStore({ initializer: { n: 0 } as never, eventHubOptions: [] })
    const { core, changes } = owned(store)
    let heard: unknown
    store.on('inc', (given: unknown) => {
      heard = given
      store.mutate((state: Record<string, unknown>) => ({ ...state, n: Number(state['n']) + 1 }))
    })
    core.emit(event('inc', { by: 1 } as never), origin)
    expect(heard).include({ by: 1 })
    store.emit('inc', { by: 1 })
    expect(store.getState()).include({ n: 2 })
    expect(core.value).deep.equal(store.getState())
    expect(changes.map(({ events, change }) => [events.map(({ event }) => event), change.patch.length])).deep.equal([
      [['inc'], 1],
      [[], 1],
    ])
    core.patch(set('/n', 9 as never), origin, () => true)
    expect(store.getState()).include({ n: 9 })
  })
})
