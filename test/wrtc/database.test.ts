/**
 * examples/database: its master as the process that a user starts, its program for the command line, and slaves of the
 * test's own. The page has its own tests (test/browser/database.test.ts).
 */
import { expect } from 'chai'
import type { Slave } from 'named-master'
import { Program } from '../suites/programs.js'
import { failure, Setting } from '../suites/setting.js'

interface Part {
  readonly id: string
  readonly revision: number
  readonly name: string
  readonly place: string
  readonly amount: number
  readonly note: string
}
type Write = { readonly op: 'put'; readonly document: object } | { readonly op: 'del'; readonly id: string; readonly revision: number } // prettier-ignore
interface Database {
  get(id: string): Promise<Part | undefined>
  list(query?: object): Promise<Part[]>
  put(part: object): Promise<Part>
  del(id: string, revision: number): Promise<void>
  batch(writes: readonly Write[]): Promise<Part[]>
}
interface Told {
  readonly changes: readonly { readonly id: string; readonly revision: number; readonly document?: Part }[]
}

describe('examples/database', function () {
  this.timeout(60_000)

  let setting: Setting
  let data: string
  let master: Program
  let one: Slave<{ parts: number }>
  let two: Slave<{ parts: number }>
  let db: Database
  let others: Database

  const startMaster = async (): Promise<RegExpExecArray> => {
    master = new Program(['examples/database/master.js'], { environment: { NAME_SERVER: setting.url, DATA: data } })
    return master.prints(/has (\d+) parts/)
  }
  const parts = (...args: string[]): Program => {
    const program = new Program(['examples/database/parts.js', ...args], { environment: { NAME_SERVER: setting.url } })
    setting.onClose(() => program.end())
    return program
  }
  const part = (id: string, given: Partial<Part> = {}): object => ({ id, revision: 0, name: id, amount: 1, ...given })
  const heardBy = (slave: Slave<{ parts: number }>): Promise<Told> =>
    new Promise((resolve) => {
      const off = slave.on('db.changed', (_state, told: Told) => {
        off()
        resolve(told)
      })
    })

  beforeEach(async () => {
    setting = await new Setting().open()
    data = await setting.folder()
    await startMaster()
    setting.onClose(() => master.end())
    ;[one, two] = [await setting.connected('parts'), await setting.connected('parts')]
    ;[db, others] = [one.proxy('db'), two.proxy('db')]
  })
  afterEach(() => setting.close())

  it('writes, reads, removes, and counts; every slave hears what was changed', async () => {
    const heard = heardBy(two)
    const put = await db.put(part('pads', { name: 'Brake pads', place: 'A3', amount: 4 }))
    const expected = { id: 'pads', revision: 1, name: 'Brake pads', place: 'A3', amount: 4, note: '' }
    expect(put).to.deep.equal(expected)
    expect(await heard).to.deep.equal({ changes: [{ id: 'pads', revision: 1, document: expected }], more: 1 })
    expect(await others.get('pads')).to.deep.equal(expected)
    expect(two.getState()).to.deep.equal({ parts: 1 })

    const removed = heardBy(one)
    await others.del('pads', 1)
    expect(await removed).to.deep.equal({ changes: [{ id: 'pads', revision: 2 }], more: -1 })
    expect([await db.get('pads'), await db.list(), one.getState()]).to.deep.equal([undefined, [], { parts: 0 }])
  })

  it('lists by filters, in an order, some of them, some of their fields', async () => {
    const given = [
      ['nut-10', { name: 'Nut M10', place: 'A10', amount: 30 }],
      ['nut-2', { name: 'Nut M2', place: 'A2', amount: 200 }],
      ['bolt', { name: 'Bolt M2', place: 'A2', amount: 4 }],
    ] as const
    await db.batch(given.map(([id, fields]) => ({ op: 'put', document: part(id, fields) })))
    const ids = async (query: object): Promise<string[]> => (await others.list(query)).map(({ id }) => id)
    expect(await ids({ orderBy: 'place' })).to.deep.equal(['bolt', 'nut-2', 'nut-10'])
    expect(await ids({ orderBy: 'amount', order: 'desc', start: 1, limit: 1 })).to.deep.equal(['nut-10'])
    expect(await ids({ filters: { place: 'A2', amount: ['<', 100] } })).to.deep.equal(['bolt'])
    expect(await ids({ filters: { name: ['like', 'nut%2'] } })).to.deep.equal(['nut-2'])
    expect(await ids({ filters: { name: ['like', '%M%'], place: ['in', ['A10', 'B1']] } })).to.deep.equal(['nut-10'])
    expect(await ids({ filters: { name: ['like', 'nut'] } })).to.deep.equal([])
    expect(await ids({ filters: { amount: ['>=', 30], colour: ['!=', 'red'] } })).to.deep.equal(['nut-2', 'nut-10'])
    expect(await others.list({ fields: ['name'], limit: 1 })).to.deep.equal([
      { id: 'bolt', revision: 1, name: 'Bolt M2' },
    ])
    const endless = { fields: new Array(2000).fill('name') }
    for (const query of [{ filters: { name: ['constructor', 1] } }, { limit: -1 }, { start: 0.5 }, endless]) {
      expect((await failure(others.list(query))).code).to.equal('method-failed')
    }
  })

  it('refuses a stale revision to the one who has it, and nobody else', async () => {
    await db.put(part('pads', { amount: 4 }))
    const [mine, theirs] = [await db.get('pads'), await others.get('pads')]
    await others.put({ ...theirs, amount: 3 })
    const refused = await failure(db.put({ ...mine, amount: 9 }))
    expect([refused.code, refused.remote]).to.deep.equal(['conflict', true])
    expect(refused.message).to.include('it is at revision 2, and you have seen 1')
    expect((await failure(db.del('pads', 1))).code).to.equal('conflict')
    expect(await others.get('pads')).to.include({ amount: 3, revision: 2 })
    await db.put({ ...(await db.get('pads')), amount: 9 })
    expect(await others.get('pads')).to.include({ amount: 9, revision: 3 })
  })

  it('writes once what is said twice: so a lost answer is no loss', async () => {
    await db.put(part('pads'))
    expect((await failure(db.put(part('pads')))).code).to.equal('conflict')
    await db.del('pads', 1)
    expect((await failure(db.del('pads', 1))).code).to.equal('conflict')
    expect(one.getState()).to.deep.equal({ parts: 0 })
  })

  it('goes on counting where a document was removed: who has seen the old one has not seen the new one', async () => {
    const old = await db.put(part('pads', { amount: 1 }))
    await others.del('pads', 1)
    expect(await others.put(part('pads', { amount: 5 }))).to.include({ revision: 3 })
    expect((await failure(db.put({ ...old, amount: 2 }))).code).to.equal('conflict')
    expect(await db.get('pads')).to.include({ amount: 5 })
  })

  it('takes one of many that have seen the same, however close they follow', async () => {
    await db.put(part('nuts', { amount: 0 }))
    const seen = await db.get('nuts')
    const writes = Array.from({ length: 5 }, (_, amount) => db.put({ ...seen, amount }))
    const codes = (await Promise.allSettled(writes)).map((one) =>
      one.status === 'fulfilled' ? one.value.revision : (one.reason as { code?: string }).code,
    )
    expect(codes).to.deep.equal([2, 'conflict', 'conflict', 'conflict', 'conflict'])
  })

  it('loses no write of two who look, add one and try again', async () => {
    await db.put(part('nuts', { amount: 0 }))
    async function add(to: Database): Promise<void> {
      const seen = await to.get('nuts')
      const done = await to.put({ ...seen, amount: seen!.amount + 1 }).then(
        () => true,
        (error: unknown) => {
          if ((error as { code?: string }).code !== 'conflict') throw error
        },
      )
      if (done !== true) await add(to)
    }
    const tenTimes = async (to: Database): Promise<void> => {
      for (let i = 0; i < 10; i++) await add(to)
    }
    await Promise.all([tenTimes(db), tenTimes(others)])
    expect(await db.get('nuts')).to.include({ amount: 20, revision: 21 })
  })

  it('writes a batch whole, as one event, or not at all', async () => {
    const first = heardBy(two)
    await db.put(part('a'))
    await first
    const heard = heardBy(two)
    await db.batch([
      { op: 'put', document: part('b') },
      { op: 'del', id: 'a', revision: 1 },
    ])
    expect((await heard).changes.map(({ id, document }) => [id, document?.name])).to.deep.equal([
      ['b', 'b'],
      ['a', undefined],
    ])
    const half: readonly Write[] = [
      { op: 'put', document: part('c') },
      { op: 'put', document: part('b') },
    ]
    expect((await failure(db.batch(half))).code).to.equal('conflict')
    const twice: readonly Write[] = [
      { op: 'put', document: part('c') },
      { op: 'put', document: part('c') },
    ]
    expect((await failure(db.batch(twice))).message).to.include('once')
    expect((await others.list()).map(({ id }) => id)).to.deep.equal(['b'])
    expect(two.getState()).to.deep.equal({ parts: 1 })
  })

  it('runs no method that is not exposed, and takes no change event from a slave', async () => {
    for (const method of ['db.constructor', 'db.batch.call', 'db.close', 'db.toString', 'db.__proto__', 'batch']) {
      expect((await failure(one.call(method, []))).code, method).to.equal('no-such-method')
    }
    one.emit('db.changed', { changes: [{ id: 'x', revision: 1, document: {} }] })
    const refused = await failure(one.settled())
    expect([refused.code, refused.message]).to.deep.equal(['handler-failed', 'Only the master says what has changed.'])
    expect(two.getState()).to.deep.equal({ parts: 0 })
  })

  it('refuses what is no part, with a sentence, and goes on', async () => {
    const wrong = [
      part('a', { name: ' ' }),
      part('a', { amount: -1 }),
      part('a', { amount: 'many' as never }),
      part('a', { note: 'x'.repeat(401) }),
      part('../a'),
      part('a', { revision: 'one' as never }),
      {},
    ]
    for (const document of wrong) await failure(db.put(document))
    for (const params of [undefined, null, {}, [null], [[]], ['x'.repeat(100)]]) {
      await failure(one.call('db.put', params))
      await failure(one.call('db.get', params))
    }
    await db.put({ ...part('other'), colour: 'red' })
    expect(await others.get('other')).to.not.have.property('colour')
    await db.put(part('toString', { name: '<b>"' }))
    expect(await others.get('toString')).to.include({ name: '<b>"', revision: 1 })
  })

  it('is used by a program of the command line, and watched by another', async () => {
    const watcher = parts('watch')
    await watcher.prints(/watching/)
    const added = await parts('add', 'Brake', 'pads', '--place', 'A3', '--amount', '4').ended()
    const [id = ''] = added.lines[0]?.split(' ') ?? []
    expect([added.code, added.lines]).to.deep.equal([0, [`${id}  r1  4 x  Brake pads  at A3`]])
    await watcher.prints(new RegExp(`^${id}  r1  4 x`))

    await others.put({ ...(await others.get(id)), amount: 7 })
    await watcher.prints(new RegExp(`^${id}  r2  7 x`))
    const stale = await parts('set', id, 'amount=5', '--revision', '1').ended()
    expect([stale.code, stale.errors]).to.satisfy(([code, errors]: [number, string]) => code === 1 && errors.startsWith('conflict: Somebody has changed')) // prettier-ignore
    expect((await parts('set', id, 'amount=5', 'note=left and right').ended()).code).to.equal(0)
    expect((await parts('list', '--like', 'pads', '--below', '6').ended()).lines).to.deep.equal([
      `${id}  r3  5 x  Brake pads  at A3  left and right`,
    ])
    expect((await parts('remove', id).ended()).lines).to.deep.equal([`removed ${id}`])
    await watcher.prints(new RegExp(`^removed ${id}$`))
    expect(await watcher.end('SIGINT')).to.equal(0)
    expect(await parts('remove', id).ended()).to.include({ code: 1, errors: `There is no part "${id}".` })
  })

  it('is there again after its master was stopped: slaves come back by themselves', async () => {
    await db.put(part('pads', { amount: 4 }))
    const watcher = parts('watch')
    await watcher.prints(/watching/)
    const back = new Promise<void>((resolve) => void one.on('db.opened', () => resolve()))
    expect(await master.end()).to.equal(0)
    expect((await startMaster())[1]).to.equal('1')
    await back
    expect(await db.get('pads')).to.include({ amount: 4, revision: 1 })
    expect(one.getState()).to.deep.equal({ parts: 1 })
    await watcher.prints(/started anew/)
    await db.put({ ...(await db.get('pads')), amount: 5 })
    await watcher.prints(/^pads {2}r2 {2}5 x/)
    expect(await watcher.end()).to.equal(0)
  })

  it('is there again after its master was killed', async () => {
    await db.put(part('pads'))
    // A slave would notice by its silence, in ten seconds.
    await Promise.all([one.disconnect(), two.disconnect()])
    expect(await master.end('SIGKILL')).to.equal('SIGKILL')
    expect((await startMaster())[1]).to.equal('1')
    await setting.connected('parts')
  })

  it('says who has the database when another process has it', async () => {
    const second = await new Program(['examples/database/master.js'], {
      environment: { NAME_SERVER: setting.url, DATA: data },
    }).ended()
    expect(second).to.deep.equal({ code: 1, lines: [], errors: `Another process has the database in ${data}.` })
  })
})
