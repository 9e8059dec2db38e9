import { expect } from 'chai'
import { NamedMasterError, type Master, type Slave } from 'named-master'
import { failure, hears, recordingRtc, Setting } from '../suites/setting.js'

/** What document 2 calls the master's database. */
class Database {
  readonly #rows = new Map<string, unknown>()

  get(key: string): unknown {
    return this.#rows.get(key)
  }

  async put(key: string, value: unknown): Promise<void> {
    await Promise.resolve()
    this.#rows.set(key, value)
  }

  list(): string[] {
    return [...this.#rows.keys()]
  }

  destroy(): void {
    this.#rows.clear()
  }
}

/** A method that answers when the test says so. */
class Gate {
  readonly #entered: (() => void)[] = []
  #open: ((value: unknown) => void) | undefined
  signal: AbortSignal | undefined
  calls = 0

  readonly method = (_params: unknown, { signal }: { signal: AbortSignal }): Promise<unknown> => {
    this.calls++
    this.signal = signal
    const answer = new Promise((resolve) => (this.#open = resolve))
    for (const resolve of this.#entered.splice(0)) resolve()
    return answer
  }

  entered(): Promise<void> {
    return new Promise((resolve) => this.#entered.push(resolve))
  }

  open(value: unknown): void {
    this.#open?.(value)
  }
}

describe('calls over wrtc', () => {
  let setting: Setting
  let master: Master
  let slave: Slave

  beforeEach(async () => {
    setting = await new Setting().open()
    const served = await setting.serve('shop', { n: 0 })
    master = served.master
    master.expose('sum', ({ a, b }: { a: number; b: number }) => a + b)
    slave = await setting.connected('shop')
  })
  afterEach(() => setting.close())

  it('answer with what the method returned or resolved to, and tell it who calls', async () => {
    master.expose('who', (params: unknown, info) => Promise.resolve({ params, client: info.slave.client }))
    master.expose('nothing', () => undefined)
    expect(await slave.call('sum', { a: 1, b: 2 })).to.equal(3)
    expect(await slave.call('who', [1, 'x'])).to.deep.equal({ params: [1, 'x'], client: slave.client })
    expect(await slave.call('who')).to.deep.equal({ client: slave.client })
    expect(await slave.call('nothing')).to.equal(undefined)
  })

  it('may be many at once, each with its own answer', async () => {
    const sums = await Promise.all(Array.from({ length: 500 }, (_, a) => slave.call('sum', { a, b: 1 })))
    expect(sums).to.deep.equal(Array.from({ length: 500 }, (_, a) => a + 1))
  })

  it('carry bodies far larger than a frame, both ways', async () => {
    master.expose('echo', (text: string) => text)
    const text = 'gr\u00fc\u00dfe \u{1f44b} '.repeat(100_000)
    expect(await slave.call('echo', text)).to.equal(text)
  })

  it('let slaves use the master\u2019s database, method by method and no other', async () => {
    const database = new Database()
    master.exposeAll('db', database, ['get', 'put', 'list'])
    const db = slave.proxy<{
      get(key: string): Promise<unknown>
      put(key: string, value: unknown): Promise<void>
      list(): Promise<string[]>
      destroy(): Promise<void>
    }>('db')
    await db.put('x', { price: 3 })
    expect(await db.get('x')).to.deep.equal({ price: 3 })
    expect(await db.get('y')).to.equal(undefined)
    expect(await db.list()).to.deep.equal(['x'])
    expect((await failure(db.destroy())).code).to.equal('no-such-method')
    expect(database.list()).to.deep.equal(['x'])
    expect(() => master.exposeAll('db', database, ['rows' as 'get'])).to.throw(TypeError, 'rows')
  })

  it('pass on what a method throws: its sentence, its code, and no stack', async () => {
    master.expose('fails', () => {
      throw new Error('The till is closed')
    })
    master.expose('coded', () => Promise.reject(new NamedMasterError('not-allowed', 'Only for staff')))
    master.expose('odd', () => Promise.reject(new Error('')))
    const error = await failure(slave.call('fails'))
    expect(error).to.include({ code: 'method-failed', message: 'The till is closed', remote: true })
    expect(error.stack).not.to.include('Gate')
    expect(await failure(slave.call('coded'))).to.include({ code: 'not-allowed', message: 'Only for staff' })
    expect(await failure(slave.call('odd'))).to.include({ code: 'method-failed', message: '"odd" threw' })
    expect(await slave.call('sum', { a: 1, b: 1 })).to.equal(2)
  })

  it('refuse a method that is not exposed, also one that every object has', async () => {
    for (const name of ['nothing', 'constructor', '__proto__', 'toString', 'hasOwnProperty', 'db.get']) {
      expect((await failure(slave.call(name))).code, name).to.equal('no-such-method')
    }
  })

  it('refuse what cannot travel, with the place it is at', async () => {
    const cyclic: { self?: unknown } = {}
    cyclic.self = cyclic
    const results: Record<string, [unknown, string]> = {
      date: [{ at: new Date(0) }, '/at'],
      nan: [[1, NaN], '/1'],
      bigint: [10n, ''],
      cycle: [cyclic, '/self'],
      function: [{ f: () => 1 }, '/f'],
    }
    for (const [name, [result, path]] of Object.entries(results)) {
      master.expose(name, () => result)
      const error = await failure(slave.call(name))
      expect(error.code, name).to.equal('method-failed')
      expect(error.message, name).to.include(`(at "${path}")`)
      expect((await failure(slave.call('sum', result))).code, name).to.equal('invalid-json')
    }
  })

  it('time out, and tell the method that nobody waits', async () => {
    const gate = new Gate()
    master.expose('slow', gate.method)
    const [entered, outcome] = [gate.entered(), failure(slave.call('slow', null, { timeout: 500 }))]
    await entered
    expect((await outcome).code).to.equal('timeout')
    const { signal } = gate
    if (signal?.aborted === false) await new Promise((resolve) => signal.addEventListener('abort', resolve))
    expect(signal?.aborted).to.equal(true)
    gate.open(1)
    expect(await slave.call('sum', { a: 1, b: 2 }), 'its late answer meets nobody').to.equal(3)
  })

  it('can be given up, before and after they have left', async () => {
    const gate = new Gate()
    master.expose('slow', gate.method)
    const giveUp = new AbortController()
    const [entered, outcome] = [gate.entered(), failure(slave.call('slow', null, { signal: giveUp.signal }))]
    await entered
    giveUp.abort()
    expect((await outcome).code).to.equal('aborted')
    expect((await failure(slave.call('slow', null, { signal: giveUp.signal }))).code).to.equal('aborted')
    expect(await slave.call('sum', { a: 1, b: 2 })).to.equal(3)
    expect(gate.calls).to.equal(1)
  })

  it('leave after the changes before them, and are answered after the changes they made', async () => {
    const { store, master: till } = await setting.serve('till', { n: 0 })
    till.expose('read', () => store.getState().n)
    till.expose('bump', () => void store.mutate(({ n }) => ({ n: n + 100 })))
    const buyer = await setting.connected<{ n: number }>('till')
    for (let i = 0; i < 20; i++) buyer.mutate(({ n }) => ({ n: n + 1 }))
    // They conflict, and are sent once more: the call must not overtake that.
    store.mutate(() => ({ n: 1000 }))
    expect(await buyer.call('read')).to.equal(1020)
    await buyer.call('bump')
    expect(buyer.getState().n).to.equal(1120)
  })

  it('run once across a lost link, and are answered over the next one', async () => {
    const gate = new Gate()
    master.expose('slow', gate.method)
    const { rtc, peers } = await recordingRtc()
    const moving = await setting.connected('shop', { rtc })
    const [entered, answer] = [gate.entered(), moving.call('slow')]
    await entered
    const back = hears(moving.events, 'resumed')
    peers[0]!.close()
    await back
    gate.open('done')
    expect(await answer).to.equal('done')
    expect(gate.calls).to.equal(1)
  })

  it('end as unknown when the master ended their session', async () => {
    const gate = new Gate()
    master.expose('slow', gate.method)
    const [entered, outcome] = [gate.entered(), failure(slave.call('slow'))]
    await entered
    await master.stopServer()
    await master.startServer('shop')
    expect((await outcome).code).to.equal('unknown-outcome')
    expect(gate.signal?.aborted).to.equal(true)
  })

  it('end with their slave, whether they have left or not', async () => {
    const gate = new Gate()
    master.expose('slow', gate.method)
    const [entered, outcome] = [gate.entered(), failure(slave.call('slow'))]
    await entered
    await slave.disconnect()
    expect((await outcome).code).to.equal('closed')
    const connecting = slave.connect('nobody', { wait: true })
    const unsent = failure(slave.call('slow'))
    await slave.disconnect()
    expect(await connecting).to.equal(false)
    expect((await unsent).code).to.equal('closed')
  })

  it('are at most a thousand at once; one more is refused', async () => {
    const gate = new Gate()
    master.expose('slow', gate.method)
    const givenUp = Array.from({ length: 1000 }, () => new AbortController())
    const open = givenUp.map(({ signal }) => failure(slave.call('slow', null, { signal })))
    expect((await failure(slave.call('slow'))).code).to.equal('too-many')
    for (const giveUp of givenUp) giveUp.abort()
    for (const error of await Promise.all(open)) expect(error.code).to.equal('aborted')
  })
})
