import { expect } from 'chai'
import { NamedMasterError } from '#src/errors.js'
import { envelope } from '#src/protocol/envelope.js'
import { parseDown, type DownPayload } from '#src/protocol/replication.js'
import { Calls, MAX_OPEN_CALLS, Methods, type CallInfo } from '#src/master/methods.js'

type Answer = Omit<DownPayload<'answer'>, 'version'>

/** All that can happen without another event has happened. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function world() {
  const methods = new Methods()
  const answers: Answer[] = []
  const calls = new Calls(methods, 7, (answer) => {
    const message = envelope('answer', { ...answer, version: 0 })
    expect(parseDown(JSON.parse(JSON.stringify(message)))).include({ ok: true })
    answers.push(answer)
  })
  const call = async (id: number, method: string, params?: unknown, lowestCall = 1) => {
    calls.call({ call: id, method, lowestCall, ...(params === undefined ? {} : { params: params as never }) })
    await turn()
    return answers.at(-1)
  }
  /** A method that answers when the test says so. */
  const pending = (name: string) => {
    const runs: { info: CallInfo; answer: (value: unknown) => void }[] = []
    methods.expose(name, (_params, info) => new Promise((answer) => runs.push({ info, answer })))
    return runs
  }
  return { methods, calls, answers, call, pending }
}

describe('methods', () => {
  it('answers what the method returns, or what its promise comes to', async () => {
    const { methods, call } = world()
    methods.expose('sum', ({ a, b }: { a: number; b: number }) => a + b)
    methods.expose('later', async () => ({ done: true }))
    methods.expose('nothing', () => undefined)
    expect(await call(1, 'sum', { a: 1, b: 2 })).deep.equal({ call: 1, result: 3 })
    expect(await call(2, 'later')).deep.equal({ call: 2, result: { done: true } })
    expect(await call(3, 'nothing')).deep.equal({ call: 3 })
  })

  it('says who calls', async () => {
    const { methods, call } = world()
    methods.expose('who', (_params, { slave }) => slave.client)
    expect(await call(1, 'who')).deep.equal({ call: 1, result: 7 })
  })

  it('answers a throw with its sentence and no stack: method-failed, or the code of an error of ours', async () => {
    const { methods, call } = world()
    methods.expose('throws', () => {
      throw new Error('no such room')
    })
    methods.expose('rejects', () => Promise.reject(new NamedMasterError('not-allowed', 'not you')))
    methods.expose('odd', () => Promise.reject(undefined))
    expect(await call(1, 'throws')).deep.equal({ call: 1, error: { code: 'method-failed', message: 'no such room' } })
    expect(await call(2, 'rejects')).deep.equal({ call: 2, error: { code: 'not-allowed', message: 'not you' } })
    expect(await call(3, 'odd')).deep.equal({ call: 3, error: { code: 'method-failed', message: '"odd" threw' } })
  })

  it('answers what cannot travel with its path', async () => {
    const { methods, call } = world()
    methods.expose('date', () => ({ at: [new Date()] }))
    const answer = await call(1, 'date')
    expect(answer?.error?.code).equal('method-failed')
    expect(answer?.error?.message).includes('/at/0')
  })

  it('keeps an answer as it was, whatever becomes of what the method returned', async () => {
    const { methods, call, calls, answers } = world()
    const returned = { n: 1 }
    methods.expose('get', () => returned)
    await call(1, 'get')
    returned.n = 2
    calls.welcomed([1])
    expect(answers).deep.equal([
      { call: 1, result: { n: 1 } },
      { call: 1, result: { n: 1 } },
    ])
  })

  it('knows only what was exposed, and nothing of any object’s properties', async () => {
    const { call } = world()
    for (const name of ['none', 'constructor', '__proto__', 'toString']) {
      expect((await call(name.length, name))?.error?.code).equal('no-such-method')
    }
  })

  it('exposes methods of an object one by one, each called on it with the list of arguments', async () => {
    const { methods, call } = world()
    const database = {
      rows: new Map([['x', 1]]),
      get(key: string) {
        return this.rows.get(key)
      },
      secret: () => 'hidden',
      text: 'no method',
    }
    methods.exposeAll('db', database, ['get'])
    expect(await call(1, 'db.get', ['x'])).deep.equal({ call: 1, result: 1 })
    expect((await call(2, 'db.secret', []))?.error?.code).equal('no-such-method')
    expect((await call(3, 'db.get', 'x'))?.error?.code).equal('invalid-message')
    expect(() => methods.exposeAll('db', database, ['get', 'text'])).throw(TypeError, 'text')
    expect(() => methods.expose('', () => 1)).throw(TypeError)
    expect(() => methods.expose('x', undefined as never)).throw(TypeError)
    expect(() => methods.expose('x'.repeat(257), () => 1)).throw(TypeError)
  })

  it('runs a call at most once, however often it is asked for', async () => {
    const { calls, pending, call, answers } = world()
    const runs = pending('slow')
    await call(1, 'slow')
    await call(1, 'slow')
    expect([runs.length, answers.length]).deep.equal([1, 0])
    runs[0]?.answer(5)
    await turn()
    expect(answers).deep.equal([{ call: 1, result: 5 }])
    await call(1, 'slow')
    expect(runs).length(1)
    expect(answers, 'one answer for each welcome').length(1)
    calls.welcomed([])
    await call(1, 'slow')
    expect(runs).length(1)
    expect(answers, 'the answer again').length(2)
  })

  it('keeps an answer until the slave says that it has it', async () => {
    const { methods, calls, call, answers } = world()
    let runs = 0
    methods.expose('count', () => ++runs)
    await call(1, 'count')
    await call(2, 'count')
    expect(calls.resume([1, 2, 3])).deep.equal([1, 2])
    calls.confirm(2)
    expect(calls.resume([1, 2, 3])).deep.equal([2])
    calls.welcomed([2])
    expect(answers.at(-1)).deep.equal({ call: 2, result: 2 })
    await call(3, 'count', undefined, 3)
    expect(calls.resume([2, 3]), 'a call says it too').deep.equal([3])
    await call(1, 'count', undefined, 1)
    expect(runs, 'and one below is not run again').equal(3)
  })

  it('keeps nothing of a call that nobody waits for when it is done', async () => {
    const { calls, call, pending, answers } = world()
    const runs = pending('slow')
    await call(1, 'slow')
    calls.confirm(2)
    runs[0]?.answer(1)
    await turn()
    expect([answers, calls.resume([1])]).deep.equal([[], []])
  })

  it('has at most 1,000 open: too-many', async () => {
    const { call, calls, pending, answers } = world()
    const runs = pending('slow')
    for (let i = 1; i <= MAX_OPEN_CALLS; i++) calls.call({ call: i, method: 'slow', lowestCall: 1 })
    expect(MAX_OPEN_CALLS).equal(1000)
    expect((await call(1001, 'slow'))?.error?.code).equal('too-many')
    expect([runs.length, answers.length]).deep.equal([1000, 1])
    for (const { answer } of runs) answer(null)
    await turn()
    calls.confirm(500)
    await call(1002, 'slow', undefined, 500)
    expect(runs).length(1001)
  })

  it('aborts the signal of a call that is cancelled, and of all when the session ends', async () => {
    const { call, calls, pending, answers } = world()
    const runs = pending('slow')
    await call(1, 'slow')
    await call(2, 'slow')
    calls.cancel(1)
    calls.cancel(99)
    expect(runs.map(({ info }) => info.signal.aborted)).deep.equal([true, false])
    expect(runs[0]?.info.signal.reason).include({ code: 'aborted', remote: true })
    calls.end()
    expect(runs[1]?.info.signal.aborted).equal(true)
    for (const { answer } of runs) answer(1)
    await turn()
    expect(answers).deep.equal([])
  })

  it('answers on a new link what this session has, and asks for the rest again', async () => {
    const { call, calls, pending, answers } = world()
    const runs = pending('slow')
    await call(1, 'slow')
    await call(2, 'slow')
    runs[0]?.answer('one')
    await turn()
    answers.length = 0
    const known = calls.resume([1, 2, 3])
    expect(known).deep.equal([1, 2])
    calls.welcomed(known)
    expect(answers).deep.equal([{ call: 1, result: 'one' }])
    runs[1]?.answer('two')
    await turn()
    expect(answers[1]).deep.equal({ call: 2, result: 'two' })
  })
})
