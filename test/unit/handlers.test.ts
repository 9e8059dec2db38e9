import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import { Handlers, takePayload, type AnyHandler, type IdleRuns, type Run } from '#src/store/handlers.js'
import { createTree } from '#src/store/tree.js'
import type { CommittedEvent } from '#src/protocol/replication.js'

const event = (name: string, payload?: unknown): CommittedEvent => {
  const taken = takePayload(payload)
  return { event: name, id: 'outer', at: 5, ...(taken === undefined ? {} : { payload: taken }) }
}

describe('handlers', () => {
  const make = (warnings: string[] = []) => {
    const handlers = new Handlers((sentence) => void warnings.push(sentence))
    const tree = createTree({ n: 0, log: [] })
    const run = (outer: CommittedEvent, how: Partial<Run> = {}) => {
      const transaction = tree.begin()
      try {
        const events = handlers.run(transaction, outer, { phase: 'commit', origin: undefined, ...how })
        transaction.finish()
        return events
      } catch (error) {
        transaction.rollback()
        throw error
      }
    }
    const emit = (name: string, payload?: unknown) => handlers.emittedInside(name, takePayload(payload))
    return { handlers, tree, run, emit }
  }

  it('run in the order they were subscribed, by name or by pattern, each on the state as the one before left it', () => {
    const { handlers, run, tree } = make()
    const note =
      (name: string): AnyHandler =>
      (state) =>
        void (state as { log: string[] }).log.push(name)
    handlers.on('item.add', note('name'))
    handlers.on(/^item\./, note('pattern'))
    handlers.on('item.add', note('name again'))
    handlers.on('item.remove', note('another'))
    handlers.on(/other/, note('other pattern'))
    run(event('item.add'))
    expect(tree.value).deep.equal({ n: 0, log: ['name', 'pattern', 'name again'] })
  })

  it('are heard until they unsubscribe, each for itself, however often the same function was subscribed', () => {
    const { handlers, run } = make()
    let calls = 0
    const count = (): void => void calls++
    const offs = [handlers.on('e', count), handlers.on('e', count), handlers.on(/e/, count), handlers.on(/e/, count)]
    run(event('e'))
    expect(calls).equal(4)
    for (const [i, off] of offs.entries()) {
      off()
      off()
      calls = 0
      run(event('e'))
      expect(calls).equal(3 - i)
    }
  })

  it('match patterns without g and y, so that none has a memory, and keep a copy of their own', () => {
    const { handlers, run } = make()
    let calls = 0
    const pattern = /item/gy
    handlers.on(pattern, () => void calls++)
    pattern.lastIndex = 3
    for (let i = 0; i < 3; i++) run(event('my item'))
    expect(calls).equal(3)
    expect(pattern.lastIndex).equal(3)
    handlers.on(/ITEM/i, () => void calls++)
    run(event('item'))
    expect(calls, 'other flags stay').equal(5)
  })

  it('are told the event, its phase, id, time and origin', () => {
    const { handlers, run } = make()
    const infos: unknown[] = []
    handlers.on('e', (_state, _payload, info) => void infos.push(info))
    const origin = { client: 3, seq: 4 }
    run(event('e'), { phase: 'predict', origin })
    expect(infos).deep.equal([{ event: 'e', phase: 'predict', id: 'outer', at: 5, origin }])
  })

  it('get a payload that nobody can change for the next, also one that came from another end', () => {
    const { handlers, run, tree } = make()
    const payloads: unknown[] = []
    handlers.on('e', (_state, payload) => void payloads.push(payload))
    const own = { list: [{ x: 1 }] }
    run(event('e', own))
    own.list.push({ x: 2 })
    expect(payloads[0]).deep.equal({ list: [{ x: 1 }] })
    const parsed = JSON.parse('{"list":[{"x":1}]}') as never
    run({ ...event('e'), payload: parsed })
    handlers.observe(
      () => tree.begin(),
      { ...event('e'), payload: JSON.parse('{"list":[{"x":1}]}') as never },
      { phase: 'volatile', origin: undefined },
      () => undefined,
    )
    for (const payload of payloads as { list: { x: number }[] }[]) {
      expect(() => payload.list.push({ x: 3 })).throw(TypeError)
      expect(() => ((payload.list[0] as { x: number }).x = 3)).throw(TypeError)
    }
    expect(payloads).length(3)
  })

  it('may put the payload into the state: it is copied there', () => {
    const { handlers, run, tree } = make()
    handlers.on('put', (_state, payload) => payload)
    handlers.on('change', (state) => void ((state as { inner: { n: number } }).inner.n = 9))
    const put = event('put', { inner: { n: 0 } })
    run(put)
    run(event('change'))
    expect(tree.value).deep.equal({ inner: { n: 9 } })
    expect(put.payload).deep.equal({ inner: { n: 0 } })
  })

  it('refuse a payload that cannot travel, with its path', () => {
    expect(() => takePayload({ a: [1, () => 1] }))
      .throw(NamedMasterError, '/a/1')
      .with.property('code', 'invalid-json')
    expect(takePayload(undefined)).equal(undefined)
    expect(takePayload(null)).equal(null)
  })

  it('queue what they emit behind them, in order', () => {
    const { handlers, run, emit } = make()
    const order: string[] = []
    handlers.on('a', () => {
      order.push('a first')
      emit('b', 1)
    })
    handlers.on('a', () => {
      order.push('a second')
      emit('c')
    })
    handlers.on('b', (_state, payload) => {
      order.push(`b ${String(payload)}`)
      emit('d')
    })
    handlers.on(/[cd]/, (_state, _payload, info) => void order.push(`${info.event} ${info.id} ${info.at}`))
    const events = run(event('a'))
    expect(order).deep.equal(['a first', 'a second', 'b 1', 'c outer/2 5', 'd outer/3 5'])
    expect(events.map(({ id }) => id)).deep.equal(['outer', 'outer/1', 'outer/2', 'outer/3'])
  })

  describe('of an event that runs again', () => {
    it('are not run again when their latest run neither returned, changed nor emitted anything', () => {
      const { handlers, run, emit } = make()
      const runs: string[] = []
      const note = (name: string, handler: AnyHandler) =>
        handlers.on('e', (...args) => {
          runs.push(name)
          return handler(...args)
        })
      note('idle', () => undefined)
      note('changes', (state) => void (state as { n: number }).n++)
      note('returns', (state) => state)
      note('emits', () => void emit('inner'))
      const idle: IdleRuns = []
      run(event('e'), { phase: 'predict', idle })
      expect(runs.splice(0)).deep.equal(['idle', 'changes', 'returns', 'emits'])
      run(event('e'), { phase: 'rerun', idle })
      expect(runs.splice(0)).deep.equal(['changes', 'returns', 'emits'])
      run(event('e'), { phase: 'predict', idle: [] })
      expect(runs, 'each event has its own').length(4)
    })

    it('are run until such a run, and what they do then may depend on the state', () => {
      const { handlers, run } = make()
      let runs = 0
      handlers.on('e', (state) => {
        runs++
        if ((state as { n: number }).n < 2) (state as { n: number }).n++
      })
      const idle: IdleRuns = []
      for (let i = 0; i < 6; i++) run(event('e'), { idle })
      expect(runs).equal(3)
    })

    it('hear each inner event, whatever they did for the outer', () => {
      const { handlers, run, emit } = make()
      const heard: string[] = []
      handlers.on(/./, (_state, payload, info) => void heard.push(`${info.event} ${String(payload)}`))
      let inner = 1
      handlers.on('outer', () => void emit('inner', inner))
      const idle: IdleRuns = []
      run(event('outer'), { idle })
      expect(heard.splice(0)).deep.equal(['outer undefined', 'inner 1'])
      run(event('outer'), { idle })
      expect(heard.splice(0), 'the same again').deep.equal([])
      inner = 2
      run(event('outer'), { idle })
      expect(heard, 'another event in its place').deep.equal(['inner 2'])
    })
  })

  describe('of an event that is decided already', () => {
    const observe = (phase: 'commit' | 'volatile') => {
      const warnings: string[] = []
      const reported: unknown[] = []
      const made = make(warnings)
      const hear = (name: string) =>
        made.handlers.observe(
          () => made.tree.begin(),
          event(name),
          { phase, origin: { client: 2 } },
          (error) => void reported.push(error),
        )
      return { ...made, hear, warnings, reported }
    }

    it('get a draft that is thrown away, each its own', () => {
      const { handlers, tree, hear } = observe('commit')
      const before = tree.value
      const seen: number[] = []
      for (let i = 0; i < 2; i++) handlers.on('e', (state) => void seen.push((state as { n: number }).n++))
      handlers.on('e', () => ({ n: 100 }))
      hear('e')
      expect(seen).deep.equal([0, 0])
      expect(tree.value).equal(before)
      expect(tree.value).deep.equal({ n: 0, log: [] })
    })

    it('are warned when they emit, and nothing comes of it', () => {
      const { handlers, hear, warnings, emit } = observe('commit')
      let inner = 0
      handlers.on('inner', () => void inner++)
      handlers.on('e', () => void expect(emit('inner')).equal(true))
      hear('e')
      expect(inner).equal(0)
      expect(warnings).length(1)
      expect(warnings[0]).includes('microtask')
    })

    it('are refused an emit when the event is volatile: store-busy', () => {
      const { handlers, hear, warnings, reported, emit } = observe('volatile')
      handlers.on('e', () => void emit('inner'))
      hear('e')
      expect(warnings).deep.equal([])
      expect(reported.map((error) => (error as NamedMasterError).code)).deep.equal(['store-busy'])
    })

    it('that throw are reported, and the others run', () => {
      const { handlers, hear, reported, emit } = observe('commit')
      const fault = new Error('mine')
      let ran = false
      handlers.on('e', () => {
        throw fault
      })
      handlers.on('e', () => void (ran = true))
      hear('e')
      expect([reported, ran]).deep.equal([[fault], true])
      expect(handlers.busy).equal(false)
      expect(emit('outside')).equal(false)
    })
  })
})
