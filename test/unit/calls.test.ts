import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import { Calls, type CallOptions } from '#src/slave/calls.js'
import { ManualClock } from 'named-master/testing'

/** What a promise came to, as far as it has. */
interface Outcome {
  result?: unknown
  code?: string
}

function world() {
  const clock = new ManualClock()
  const cancelled: number[] = []
  let due = 0
  const calls = new Calls({ clock, due: () => void due++, cancel: (call) => void cancelled.push(call) })
  const call = (method = 'm', options: CallOptions = {}, after = 0, params?: unknown): Outcome => {
    const outcome: Outcome = {}
    calls.call(method, params, after, options).then(
      (result) => (outcome.result = result),
      (error: unknown) => (outcome.code = (error as NamedMasterError).code),
    )
    return outcome
  }
  return { clock, calls, call, cancelled, dues: () => due }
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('calls', () => {
  it('leave once, numbered, with the lowest that is unanswered', () => {
    const { calls, call, dues } = world()
    call('a', {}, 0, { x: 1 })
    call('b')
    expect(dues()).equal(2)
    expect(calls.sendable(0)).deep.equal([
      { call: 1, method: 'a', params: { x: 1 }, lowestCall: 1 },
      { call: 2, method: 'b', lowestCall: 1 },
    ])
    expect(calls.sendable(0)).deep.equal([])
    expect(calls.sent).deep.equal([1, 2])
  })

  it('leave when all earlier changes are answered', () => {
    const { calls, call } = world()
    call('first', {}, 3)
    call('second', {}, 5)
    expect(calls.sendable(2)).deep.equal([])
    expect(calls.sendable(3).map(({ method }) => method)).deep.equal(['first'])
    expect(calls.sendable(7).map(({ method }) => method)).deep.equal(['second'])
  })

  it('end with their answer, result or error', async () => {
    const { calls, call } = world()
    const [a, b, c] = [call(), call(), call()]
    calls.sendable(0)
    calls.answer({ call: 2, version: 0, error: { code: 'method-failed', message: 'no' } })
    calls.answer({ call: 1, version: 0, result: { x: 1 } })
    calls.answer({ call: 3, version: 0 })
    calls.answer({ call: 9, version: 0, result: 'of nothing' })
    calls.applied(0)
    await turn()
    expect([a, b, c]).deep.equal([{ result: { x: 1 } }, { code: 'method-failed' }, { result: undefined }])
    expect([calls.lowest, calls.sent]).deep.equal([4, []])
  })

  it('are told by an error of the other end', async () => {
    const { calls } = world()
    const called = calls.call('m', undefined, 0, {})
    calls.sendable(0)
    calls.answer({ call: 1, version: 0, error: { code: 'no-such-method', message: 'none' } })
    calls.applied(0)
    const error = await called.then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(error).instanceof(NamedMasterError).include({ code: 'no-such-method', message: 'none', remote: true })
  })

  it('act on an answer once its version is applied', async () => {
    const { calls, call } = world()
    const [a, b] = [call(), call()]
    calls.sendable(0)
    calls.answer({ call: 1, version: 5, result: 1 })
    calls.answer({ call: 2, version: 4, result: 2 })
    calls.applied(3)
    await turn()
    expect([a, b]).deep.equal([{}, {}])
    calls.applied(4)
    await turn()
    expect([a, b]).deep.equal([{}, { result: 2 }])
    calls.applied(6)
    await turn()
    expect(a).deep.equal({ result: 1 })
  })

  it('confirm what is answered by the lowest that is not', async () => {
    const { calls, call } = world()
    expect(calls.lowest).equal(1)
    for (let i = 0; i < 3; i++) call()
    calls.sendable(0)
    calls.answer({ call: 2, version: 0 })
    calls.applied(0)
    expect(calls.lowest).equal(1)
    calls.answer({ call: 1, version: 0 })
    calls.applied(0)
    expect(calls.lowest).equal(3)
    call()
    expect(calls.sendable(0)[0]).include({ call: 4, lowestCall: 3 })
  })

  describe('on a new link', () => {
    it('of the same session wait for what the master has, and send the rest again, under the same number', async () => {
      const { calls, call } = world()
      const outcomes = [call('a'), call('b'), call('c')]
      calls.sendable(0)
      expect(calls.sent).deep.equal([1, 2, 3])
      calls.resume(true, [1, 3])
      expect(calls.sendable(0)).deep.equal([{ call: 2, method: 'b', lowestCall: 1 }])
      for (const id of [1, 2, 3]) calls.answer({ call: id, version: 0, result: id })
      calls.applied(0)
      await turn()
      expect(outcomes).deep.equal([{ result: 1 }, { result: 2 }, { result: 3 }])
    })

    it('of another session end unknown-outcome when they had left, and leave when they had not', async () => {
      const { calls, call } = world()
      const sent = call('a')
      calls.sendable(0)
      const waiting = call('b', {}, 5)
      calls.resume(false, [])
      await turn()
      expect([sent, waiting]).deep.equal([{ code: 'unknown-outcome' }, {}])
      expect(calls.sendable(5)).deep.equal([{ call: 2, method: 'b', lowestCall: 2 }])
    })

    it('forget answers of the old one that were early: they come again', async () => {
      const { calls, call } = world()
      const outcome = call()
      calls.sendable(0)
      calls.answer({ call: 1, version: 9, result: 'early' })
      calls.resume(true, [1])
      calls.applied(9)
      await turn()
      expect(outcome).deep.equal({})
      calls.answer({ call: 1, version: 2, result: 'again' })
      calls.applied(9)
      await turn()
      expect(outcome).deep.equal({ result: 'again' })
    })
  })

  describe('given up', () => {
    it('by time, after 30 s or as the program says: timeout, and the master is told', async () => {
      const { clock, call, calls, cancelled } = world()
      const [usual, short] = [call(), call('m', { timeout: 50 })]
      calls.sendable(0)
      await clock.advance(50)
      expect([usual, short, cancelled]).deep.equal([{}, { code: 'timeout' }, [2]])
      await clock.advance(29_949)
      expect(usual).deep.equal({})
      await clock.advance(1)
      expect([usual, cancelled]).deep.equal([{ code: 'timeout' }, [2, 1]])
    })

    it('by a signal, before or after they leave: aborted', async () => {
      const { call, calls, cancelled } = world()
      const [early, late, inTime] = [new AbortController(), new AbortController(), new AbortController()]
      early.abort()
      const a = call('a', { signal: early.signal })
      const b = call('b', { signal: inTime.signal })
      inTime.abort()
      expect(calls.sendable(0)).deep.equal([])
      const c = call('c', { signal: late.signal })
      calls.sendable(0)
      late.abort()
      await turn()
      expect([a, b, c]).deep.equal([{ code: 'aborted' }, { code: 'aborted' }, { code: 'aborted' }])
      expect(cancelled, 'only what had left').deep.equal([2])
      expect(calls.sent).deep.equal([])
    })

    it('leave no timer, and an answer that comes after means nothing', async () => {
      const { clock, call, calls } = world()
      const controller = new AbortController()
      const outcome = call('m', { signal: controller.signal })
      calls.sendable(0)
      controller.abort()
      calls.answer({ call: 1, version: 0, result: 1 })
      calls.applied(0)
      await turn()
      expect([outcome, clock.timers]).deep.equal([{ code: 'aborted' }, 0])
    })

    it('by the program’s end: all of them, with its reason', async () => {
      const { clock, call, calls } = world()
      const outcomes = [call(), call('m', {}, 99)]
      calls.sendable(0)
      calls.abandon(new NamedMasterError('closed', 'gone'))
      await turn()
      expect([outcomes, clock.timers]).deep.equal([[{ code: 'closed' }, { code: 'closed' }], 0])
    })

    it('because they cannot be sent', async () => {
      const { call, calls } = world()
      const outcome = call()
      calls.sendable(0)
      calls.fail(1, new NamedMasterError('too-large', 'too large'))
      await turn()
      expect(outcome).deep.equal({ code: 'too-large' })
    })
  })

  it('are at most 1,000 at once: too-many', async () => {
    const { call, calls } = world()
    for (let i = 0; i < 1000; i++) call()
    const more = call()
    await turn()
    expect(more).deep.equal({ code: 'too-many' })
    calls.sendable(0)
    calls.answer({ call: 1, version: 0 })
    calls.applied(0)
    const again = call()
    await turn()
    expect(again).deep.equal({})
  })

  it('copy their parameters, and refuse what cannot travel with its path', async () => {
    const { calls, call } = world()
    const params = { list: [1] }
    call('m', {}, 0, params)
    params.list.push(2)
    expect(calls.sendable(0)[0]?.params).deep.equal({ list: [1] })
    const error = await calls.call('m', { at: [NaN] }, 0, {}).then(
      () => undefined,
      (thrown: unknown) => thrown as NamedMasterError,
    )
    expect(error?.code).equal('invalid-json')
    expect(error?.message).includes('/at/0')
  })

  it('refuse misuse with a TypeError', () => {
    const { calls } = world()
    const misuses: [string, CallOptions][] = [
      ['', {}],
      ['x'.repeat(257), {}],
      ['m', { timeout: -1 }],
      ['m', { timeout: NaN }],
      ['m', { timeout: Infinity }],
      ['m', { timeout: 2 ** 31 }],
    ]
    for (const [method, options] of misuses) {
      expect(() => calls.call(method, undefined, 0, options), JSON.stringify(options)).throw(TypeError)
    }
  })
})
