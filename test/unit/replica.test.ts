import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import { newUuid } from '#src/protocol/envelope.js'
import type { EventInfo } from '#src/store/microstore.js'
import { MAX_PENDING_CHANGES } from '#src/store/pending.js'
import { increment, initial, seqs, world, type State } from '../suites/counters.js'
import { Host, settle, type Guest } from '../suites/replication.js'

describe('replica', () => {
  describe('before the first state', () => {
    it('refuses emit and mutate: not-connected', () => {
      const host = new Host(initial())
      const guest = host.join()
      const { replica } = new (guest.constructor as new (...args: unknown[]) => Guest<State>)(host, host.client())
      expect(() => replica.mutate(() => undefined, 'id', 0))
        .throw()
        .with.property('code', 'not-connected')
      expect(() => replica.emit({ event: 'e', id: 'id', at: 0 }))
        .throw()
        .with.property('code', 'not-connected')
      expect([replica.value, replica.position, replica.live, replica.ready]).deep.equal([
        undefined,
        undefined,
        false,
        false,
      ])
    })
  })

  describe('commits that come together', () => {
    it('are shown once; a handler sees the state right after its own event', () => {
      const { host, a, b } = world()
      const seen: number[] = []
      b.on('look', (state) => void seen.push(state.n))
      b.told.length = 0
      for (const by of [1, 2]) a.emit('add', by)
      a.emit('look')
      for (const by of [3, 4]) a.emit('add', by)
      a.settle()
      b.hear()
      expect(seen).deep.equal([3])
      expect(b.state).deep.equal(host.state)
      expect([b.state.n, b.replica.version, b.told.length]).deep.equal([10, host.authority.version, 1])
    })

    it('leave an own mutate alone that only an own one among them touches', () => {
      const { host, a, b } = world()
      b.mutate(increment)
      b.send()
      a.mutate((state) => void (state.m = 7))
      a.settle()
      b.take()
      let runs = 0
      b.mutate((state) => (runs++, increment(state)))
      b.send()
      b.hear()
      expect([b.state.n, b.state.m, runs], 'it is not run again').deep.equal([2, 7, 1])
      b.settle()
      expect(b.state).deep.equal(host.state)
    })

    it('are taken up to the one that does not fit', () => {
      const { b } = world()
      const commit = (version: number, path: string) => {
        const payload = { version, patch: [{ op: 'replace', path, value: version } as const], events: [] }
        return { command: 'commit', payload, uuid: newUuid(), timestamp: 0 } as const
      }
      expect(() => b.replica.receive([commit(1, '/n'), commit(2, '/m'), commit(3, '/none'), commit(4, '/n')]))
        .throw(NamedMasterError)
        .with.property('code', 'invalid-message')
      expect([b.replica.version, b.state.n, b.state.m]).deep.equal([2, 1, 2])
    })
  })

  describe('own changes', () => {
    it('show at once, and never flicker through an older value', () => {
      const { host, a, b } = world()
      const shown: number[] = []
      a.replica.events.on('changed', () => shown.push(a.state.n))
      a.emit('add', 1)
      a.mutate((state) => void (state.m = 5))
      a.emit('add', 1)
      expect(a.state).deep.equal({ ...initial(), n: 2, m: 5 })
      a.send()
      b.mutate((state) => ({ ...state, title: 'by b' }))
      b.turn()
      a.take()
      a.hear()
      settle(a, b)
      expect(a.state).deep.equal({ ...initial(), n: 2, m: 5, title: 'by b' })
      expect(b.state).deep.equal(a.state)
      expect(host.state).deep.equal(a.state)
      expect(shown).deep.equal([...shown].sort())
    })

    it('grow in seq; prev is the preceding change that still stands', () => {
      const { a } = world()
      a.emit('add', 1)
      a.mutate((state) => void (state.m = 1))
      expect(seqs(a.send())).deep.equal([
        [1, 0],
        [2, 1],
      ])
      a.take()
      a.hear()
      a.emit('add', 1)
      expect(seqs(a.send())).deep.equal([[3, 2]])
    })

    it('leave once, in order', () => {
      const { a } = world()
      a.emit('add', 1)
      expect(a.send()).length(1)
      expect(a.send()).length(0)
      a.emit('add', 1)
      expect(seqs(a.send())).deep.equal([[2, 1]])
    })

    it('that change nothing: an emit is sent all the same, a mutate is not', () => {
      const { a } = world()
      a.mutate(() => undefined)
      a.mutate((state) => ({ ...state, n: 0 }))
      a.emit('nobody listens')
      expect(a.send().map((payload) => 'event' in payload && payload.event)).deep.equal(['nobody listens'])
    })

    it('that do nothing stand in the way of nothing', () => {
      const { a, b } = world()
      a.emit('add', 1)
      a.mutate(() => undefined)
      a.mutate((state) => ({ ...state, n: 1 }))
      b.emit('add', 5)
      b.settle()
      a.hear()
      expect(a.state.n).equal(6)
      a.settle()
      expect(a.state.n).equal(6)
    })

    it('are lost when the mutator throws: to its caller, and nothing has happened', () => {
      const { a } = world()
      const fault = new Error('mine')
      expect(() =>
        a.mutate((state) => {
          state.n = 9
          throw fault
        }),
      ).throw(fault)
      expect([a.state, a.replica.pending, a.send()]).deep.equal([initial(), 0, []])
    })

    it('are refused inside handlers and mutators: store-busy', () => {
      const { a } = world()
      const codes: string[] = []
      const attempt = (change: () => void) => () => {
        try {
          change()
        } catch (error) {
          codes.push((error as NamedMasterError).code)
        }
      }
      a.on(
        'e',
        attempt(() => a.mutate(() => undefined)),
      )
      a.emit('e')
      a.mutate(attempt(() => a.mutate(() => undefined)))
      a.mutate(attempt(() => a.emit('e')))
      expect(codes).deep.equal(['store-busy', 'store-busy', 'store-busy'])
    })

    it('are bounded: outbox-full', () => {
      const { a } = world()
      for (let i = 0; i < MAX_PENDING_CHANGES; i++) a.emit('add', 1)
      expect(() => a.emit('add', 1))
        .throw()
        .with.property('code', 'outbox-full')
      expect(() => a.mutate(increment))
        .throw()
        .with.property('code', 'outbox-full')
      a.settle()
      a.emit('add', 1)
      expect(a.state.n).equal(MAX_PENDING_CHANGES + 1)
    })

    it('that a hundred mutates make at two slaves each are all there', () => {
      const { host, a, b } = world()
      for (let i = 0; i < 100; i++) {
        a.mutate(increment)
        b.mutate(increment)
        a.turn()
        b.turn()
      }
      settle(a, b)
      expect([host.state.n, a.state.n, b.state.n]).deep.equal([200, 200, 200])
    })
  })

  describe('handlers', () => {
    const watched = () => {
      const { host, a, b } = world()
      const runs: { event: string; phase: string; origin: EventInfo['origin']; id: string; at: number }[] = []
      a.on(/./, (_state, _payload, { event, phase, origin, id, at }: EventInfo) => {
        runs.push({ event, phase, origin, id, at })
        return undefined
      })
      return { host, a, b, runs, phases: () => runs.splice(0).map(({ event, phase }) => `${phase} ${event}`) }
    }

    it('run at an own emit in phase predict, and never again for its own commit', () => {
      const { a, phases } = watched()
      a.emit('add', 1)
      expect(phases()).deep.equal(['predict add'])
      a.settle()
      expect(phases()).deep.equal([])
      expect(a.state.n).equal(1)
    })

    it('run for another’s event in phase commit, on the state that is there already; their result is ignored', () => {
      const { a, b, runs, phases } = watched()
      const seen: number[] = []
      a.on('add', (state) => {
        seen.push(state.n)
        return { ...state, n: 1000 }
      })
      b.emit('add', 5)
      b.settle()
      a.hear()
      expect(runs[0]?.origin).deep.equal({ client: b.client.client, seq: 1 })
      expect(phases()).deep.equal(['commit add'])
      expect(seen).deep.equal([5])
      expect(a.state.n).equal(5)
    })

    it('run again in phase rerun when the state below has changed, and not when they were idle', () => {
      const { a, b, phases } = watched()
      const runs: string[] = []
      a.on('double', (state, _payload, { phase }: EventInfo) => {
        runs.push(phase)
        state.m = state.n * 2 + 1
      })
      a.emit('double')
      expect([phases(), a.state.m]).deep.equal([['predict double'], 1])
      a.send()
      b.emit('add', 3)
      b.settle()
      a.hear()
      expect(runs).deep.equal(['predict', 'rerun'])
      expect(phases(), 'the idle one').deep.equal(['commit add'])
      expect(a.state.m).equal(7)
    })

    it('are told the same id, time and origin in predict, rerun and at the master', () => {
      const { host, a, b, runs } = watched()
      const atMaster: EventInfo[] = []
      host.store.on('own', (_state, _payload, info) => void atMaster.push(info))
      const here: EventInfo[] = []
      a.on('own', (state, _payload, info) => {
        here.push(info)
        state.m = state.n
        return state
      })
      a.emit('own')
      b.emit('add', 1)
      b.settle()
      a.hear()
      a.settle()
      expect(here.map(({ phase }) => phase)).deep.equal(['predict', 'rerun'])
      const [{ id, at }] = runs as [EventInfo]
      const origin = { client: a.client.client, seq: 1 }
      for (const info of [...here, ...atMaster]) expect(info).include({ id, at }).and.deep.include({ origin })
    })

    it('that emit inside predict it, and send only the outer event', () => {
      const { host, a, b } = watched()
      for (const store of [
        { on: host.store.on.bind(host.store), emit: host.store.emit.bind(host.store) },
        { on: a.on.bind(a), emit: a.emit.bind(a) },
      ]) {
        store.on('outer', () => store.emit('add', 2))
      }
      a.emit('outer')
      expect(a.state.n).equal(2)
      expect(a.send().map((payload) => 'event' in payload && payload.event)).deep.equal(['outer'])
      a.take()
      a.hear()
      b.hear()
      expect([host.state.n, a.state.n, b.state.n]).deep.equal([2, 2, 2])
      expect(a.warnings).deep.equal([])
    })

    it('that emit for another’s event are warned, and nothing is sent', () => {
      const { a, b } = watched()
      a.on('add', () => a.emit('answer'))
      b.emit('add', 1)
      b.settle()
      a.hear()
      expect([a.warnings.length, a.replica.pending, a.send()]).deep.equal([1, 0, []])
    })

    it('that throw only predict nothing; what the master decides is shown', () => {
      const { host, a } = watched()
      host.store.on('set', (state) => void (state.m = 7))
      a.on('set', (state) => {
        state.m = 99
        throw new Error('mine')
      })
      a.emit('set')
      expect(a.state.m).equal(0)
      a.settle()
      expect([a.state.m, a.codes]).deep.equal([7, []])
    })

    it('that throw for another’s event are reported, and cost nothing else', () => {
      const { a, b } = watched()
      a.on('add', () => {
        throw new Error('mine')
      })
      b.emit('add', 1)
      b.settle()
      a.hear()
      expect(a.reported.map((error) => (error as Error).message)).deep.equal(['mine'])
      expect(a.state.n).equal(1)
    })

    it('of a volatile event run once, phase volatile, and change nothing', () => {
      const { a, runs } = watched()
      a.on('cursor', (state) => void (state.n = 99))
      a.replica.volatile({ event: 'cursor', id: 'id', at: 5 }, 7)
      expect(runs).deep.equal([{ event: 'cursor', phase: 'volatile', origin: { client: 7 }, id: 'id', at: 5 }])
      expect([a.state.n, a.replica.pending]).deep.equal([0, 0])
    })
  })

  describe('listeners', () => {
    it('are told once per batch, with its version and all paths', () => {
      const { a, b } = world()
      a.emit('add', 1)
      a.send()
      a.told.length = a.versions.length = 0
      for (let i = 0; i < 3; i++) b.emit('add', 1)
      b.mutate(({ list }) => void list.push('x'))
      b.settle()
      a.take()
      a.hear()
      expect(a.versions).deep.equal([5])
      expect(a.told[0]).have.members(['/n', '/list/-'])
      expect(a.state).deep.equal({ ...initial(), n: 4, list: ['x'] })
    })

    it('are told of an own change when it is made, and not again when it is committed as it was shown', () => {
      const { a } = world()
      a.told.length = 0
      a.emit('add', 1)
      expect(a.told).deep.equal([['/n']])
      a.settle()
      expect(a.told).length(1)
      expect(a.replica.version).equal(1)
    })

    it('find the whole state, and may change it at once', () => {
      const { a, b } = world()
      const off = a.replica.events.on('changed', () => {
        off()
        a.mutate((state) => void (state.m = state.n))
      })
      b.emit('add', 4)
      b.settle()
      a.hear()
      expect(a.state).deep.include({ n: 4, m: 4 })
      settle(a, b)
      expect(b.state.m).equal(4)
    })
  })
})
