import { expect } from 'chai'
import { Level } from 'level'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Master, NamedMasterError } from 'named-master'
import { openStorage } from '#storage'
import type { DownPayload } from '#src/protocol/replication.js'
import { createStore } from '#src/store/store.js'
import { Life } from '../suites/life.js'

interface State {
  n: number
  list: string[]
  text: string
}

const initial = (): State => ({ n: 0, list: [], text: '' })
const DAY_MS = 24 * 3_600_000

describe('the journal', function () {
  this.timeout(60_000)

  let data = ''
  beforeEach(async () => void (data = join(await mkdtemp(join(tmpdir(), 'named-master-journal-')), 'data')))
  afterEach(() => rm(join(data, '..'), { recursive: true, force: true }))

  const begin = (options: { date?: () => number; durability?: 'process' | 'disk' } = {}): Promise<Life<State>> =>
    Life.begin(data, initial(), options)
  const count = (life: Life<State>, times = 1): void => {
    for (let i = 0; i < times; i++) life.store.mutate((state) => void state.n++)
  }
  const failure = async (work: Promise<unknown>): Promise<NamedMasterError> =>
    work.then(
      () => expect.fail('it did not fail'),
      (error: unknown) => error as NamedMasterError,
    )

  describe('in the next life', () => {
    it('has the state, at its version', async () => {
      const first = await begin()
      count(first, 3)
      first.store.mutate((state) => void state.list.push('a', 'b'))
      first.store.mutate((state) => ({ ...state, text: 'ü\u{1f642}' }))
      await first.end()
      const second = await begin()
      expect(second.store.getState()).to.deep.equal({ n: 3, list: ['a', 'b'], text: 'ü\u{1f642}' })
      expect(second.sessions.term.from).to.equal(5)
      expect((await second.join()).welcome.position.version).to.equal(5)
      await second.end()
    })

    it('has it also on the disk itself, and when nothing was changed', async () => {
      const first = await begin({ durability: 'disk' })
      count(first)
      await first.end()
      await (await begin({ durability: 'disk' })).end()
      const third = await begin()
      expect(third.store.getState().n).to.equal(1)
      await third.end()
    })

    it('knows its clients, and takes what they send again once', async () => {
      const first = await begin()
      first.store.on('add', (state) => void state.n++)
      const { slave, welcome, secret } = await first.join()
      expect(welcome).not.to.have.property('lastSeq')
      slave.say('emit', { seq: 1, prev: 0, event: 'add' })
      slave.say('emit', { seq: 4, prev: 1, event: 'add' })
      await slave.hears('commit')
      await slave.hears('commit')
      await first.end()
      const second = await begin()
      second.store.on('add', (state) => void state.n++)
      const again = await second.join({ secret, position: { term: welcome.position.term, version: 1 } })
      expect(again.welcome).to.include({ lastSeq: 4, client: welcome.client, by: 'commits' })
      again.slave.say('emit', { seq: 4, prev: 1, event: 'add' })
      again.slave.say('emit', { seq: 5, prev: 4, event: 'add' })
      // The missing one, and the new one.
      const versions = [await again.slave.hears('commit'), await again.slave.hears('commit')]
      expect(versions.map(({ payload }) => [payload.version, payload.origin?.seq])).to.deep.equal([[2, 4], [3, 5]]) // prettier-ignore
      expect(second.store.getState().n).to.equal(3)
      expect((await second.join()).welcome.client, 'a number of its own').to.equal(welcome.client + 1)
      await second.end()
    })

    it('compares mutates with what was written before it', async () => {
      const first = await begin()
      const { welcome, secret } = await first.join()
      count(first)
      first.store.mutate((state) => void state.list.push('a'))
      await first.end()
      const second = await begin()
      const { slave } = await second.join({ secret, position: welcome.position })
      slave.say('mutate', { seq: 1, prev: 0, base: 0, patch: [{ op: 'add', path: '/list/-', value: 'b' }] })
      slave.say('mutate', { seq: 2, prev: 1, base: 0, patch: [{ op: 'replace', path: '/n', value: 9 }] })
      expect((await slave.hears('refused')).payload).to.include({ seq: 2, code: 'conflict' })
      expect(second.store.getState()).to.deep.include({ n: 1, list: ['a', 'b'] })
      await second.end()
    })

    it('tells a client again that it is new, until that has been heard', async () => {
      const first = await begin()
      const { secret, welcome } = await first.join()
      await first.end()
      const second = await begin()
      const unheard = await second.join({ secret })
      expect(unheard.welcome).not.to.have.property('lastSeq')
      expect(unheard.welcome.client).to.equal(welcome.client)
      await second.end()
      const third = await begin()
      const heard = await third.join({ secret, session: unheard.welcome.session })
      expect(heard.welcome.lastSeq).to.equal(0)
      await third.end()
      const fourth = await begin()
      expect((await fourth.join({ secret })).welcome.lastSeq).to.equal(0)
      await fourth.end()
    })

    it('has forgotten who was not seen for 30 days, and gives its number to nobody', async () => {
      let now = Date.now()
      const first = await begin({ date: () => now })
      const old = await first.join()
      old.slave.say('emit', { seq: 1, prev: 0, event: 'x' })
      await old.slave.hears('commit')
      now += 10 * DAY_MS
      const young = await first.join()
      await first.end()
      now += 21 * DAY_MS
      const second = await begin({ date: () => now })
      const third = await second.join()
      const returned = await second.join({ secret: old.secret })
      expect(returned.welcome).not.to.have.property('lastSeq')
      expect((await second.join({ secret: young.secret, session: young.welcome.session })).welcome.lastSeq).to.equal(0)
      const numbers = [old, young, third, returned].map(({ welcome }) => welcome.client)
      expect(new Set(numbers).size).to.equal(4)
      await second.end()
    })
  })

  describe('and those who were here before', () => {
    const position = ({ position }: DownPayload<'welcome'>) => position

    it('go on by commits, over several lives', async () => {
      const first = await begin()
      const { welcome, secret } = await first.join()
      count(first, 3)
      await first.end()
      for (let life = 0; life < 3; life++) {
        const next = await begin()
        count(next, 2)
        await next.end()
      }
      const last = await begin()
      const { slave, welcome: again } = await last.join({ secret, position: position(welcome) })
      expect(again).to.include({ by: 'commits' })
      expect(again.position.version).to.equal(9)
      for (let version = 1; version <= 9; version++)
        expect((await slave.hears('commit')).payload.version).to.equal(version)
      await last.end()
    })

    it('are sent the state where their versions were taken back by a backup', async () => {
      const first = await begin()
      count(first, 2)
      const early = await first.join()
      await first.end()
      await cp(data, `${data}-backup`, { recursive: true })
      const second = await begin()
      count(second, 3)
      const late = await second.join()
      await second.end()
      await rm(data, { recursive: true })
      await cp(`${data}-backup`, data, { recursive: true })
      const third = await begin()
      // As many versions as the other had, and another state.
      for (let i = 0; i < 3; i++) third.store.mutate((state) => void state.list.push('other'))
      const { welcome } = await third.join({ secret: late.secret, position: position(late.welcome) })
      expect(welcome).to.include({ by: 'snapshot' })
      expect(welcome, 'the backup does not know it').not.to.have.property('lastSeq')
      expect((await third.join({ secret: early.secret, position: position(early.welcome) })).welcome).to.include({ by: 'commits' }) // prettier-ignore
      const beyond = { term: position(early.welcome).term, version: 3 }
      expect((await third.join({ position: beyond })).welcome, 'what the first life wrote beyond it').to.include({ by: 'snapshot' }) // prettier-ignore
      await third.end()
    })

    it('are sent the state by a copy of the folder that went on beside it', async () => {
      const first = await begin()
      count(first)
      await first.end()
      await cp(data, `${data}-copy`, { recursive: true })
      const one = await begin()
      const other = await Life.begin(`${data}-copy`, initial())
      count(one, 2)
      count(other, 2)
      const { welcome, secret } = await one.join()
      expect((await other.join({ secret, position: position(welcome) })).welcome).to.include({ by: 'snapshot' })
      await one.end()
      await other.end()
    })
  })

  describe('when much was changed', () => {
    const PAGE = 'x'.repeat(64 * 1024)
    const write = async (life: Life<State>, pages: number): Promise<void> => {
      const { slave } = await life.join()
      for (let i = 0; i < pages; i++) {
        life.store.mutate((state) => void (state.text = `${i} ${PAGE}`))
        await slave.hears('commit')
      }
      expect(life.warnings).to.deep.equal([])
    }
    const records = async (): Promise<Record<string, number>> => {
      const storage = await openStorage(data, 'master', { existing: true })
      const counts: Record<string, number> = {}
      for (const table of ['commits', 'snapshots', 'terms']) {
        const keys: string[] = []
        for await (const [key] of storage.table(table).iterator()) keys.push(key)
        counts[table] = keys.length
      }
      await storage.close()
      return counts
    }

    it('keeps the latest of it, and has the state', async () => {
      const first = await begin()
      const { welcome, secret } = await first.join()
      await write(first, 700)
      await first.end()
      const { commits, snapshots } = await records()
      // 8 Mi characters between two snapshots, and as many again before; of 44 Mi that were written.
      expect(commits).to.be.within(1, 400)
      expect(snapshots).to.equal(2)
      const second = await begin()
      expect(second.store.getState().text).to.equal(`699 ${PAGE}`)
      expect((await second.join({ secret, position: welcome.position })).welcome).to.include({ by: 'snapshot' })
      const recent = { term: welcome.position.term, version: 690 }
      expect((await second.join({ position: recent })).welcome).to.include({ by: 'commits' })
      await second.end()
    })

    it('keeps no more terms than those who come back can have', async () => {
      for (let life = 0; life < 4; life++) await (await begin()).end()
      expect((await records())['terms']).to.equal(4)
      const first = await begin()
      await write(first, 300)
      await first.end()
      await (await begin()).end()
      await (await begin()).end()
      expect((await records())['terms']).to.be.lessThan(5)
      const last = await begin()
      expect(last.store.getState().text).to.equal(`299 ${PAGE}`)
      await last.end()
    })

    it('writes a large state in pieces, while changes go on', async () => {
      const first = await begin()
      first.store.mutate((state) => {
        for (let i = 0; i < 160; i++) state.list.push(`${i} ${PAGE}`)
      })
      count(first, 50)
      await first.end()
      const second = await begin()
      const { list, n } = second.store.getState()
      expect([list.length, list[159]?.length, n]).to.deep.equal([160, PAGE.length + 4, 50])
      await second.end()
    })
  })

  describe('a folder that is not what it should be', () => {
    const files = async (): Promise<Record<string, string>> => {
      const all: Record<string, string> = {}
      for (const name of await readdir(data, { recursive: true })) {
        const path = join(data, name)
        if ((await stat(path)).isFile()) all[name] = (await readFile(path)).toString('base64')
      }
      return all
    }
    /** Refused with this code, and left as it is. */
    const refused = async (code: string): Promise<string> => {
      const before = await files()
      const error = await failure(begin())
      expect(error).to.be.instanceOf(NamedMasterError)
      expect(error.code, error.message).to.equal(code)
      expect(await files()).to.deep.equal(before)
      return error.message
    }
    const written = async (times = 50): Promise<void> => {
      const life = await begin()
      count(life, times)
      await life.end()
    }
    const inDatabase = (extension: string): Promise<string> =>
      readdir(join(data, 'db')).then((names) => join(data, 'db', names.find((name) => name.endsWith(extension)) ?? ''))

    it('is foreign: a Level of something else', async () => {
      await mkdir(data)
      const level = new Level(join(data, 'db'))
      await level.put('mine', 'yours')
      await level.close()
      expect(await refused('storage-foreign')).to.contain('name another folder')
    })

    it('is foreign: a name server’s', async () => {
      await (await openStorage(data, 'name-server')).close()
      expect(await refused('storage-foreign')).to.contain('name-server')
    })

    it('is newer', async () => {
      await written()
      await writeFile(join(data, 'format.json'), JSON.stringify({ kind: 'master', format: 2 }))
      expect(await refused('storage-newer')).to.contain('format 2')
    })

    it('is damaged: its format says nothing', async () => {
      await written()
      await writeFile(join(data, 'format.json'), '{"kind"')
      await refused('storage-damaged')
    })

    it('is damaged: without the file that names the others', async () => {
      await written()
      await rm(join(data, 'db', 'CURRENT'))
      await refused('storage-damaged')
    })

    it('is damaged: in the middle of LevelDB’s log', async () => {
      await written(2000)
      const log = await inDatabase('.log')
      const bytes = await readFile(log)
      const middle = bytes.length >> 1
      bytes.fill(0, middle, middle + 2000)
      await writeFile(log, bytes)
      expect((await failure(begin())).code).to.equal('storage-damaged')
    })

    it('is damaged: one bit of a table', async () => {
      await written(300)
      // Opening it anew makes a table of the log.
      await written(0)
      const table = await inDatabase('.ldb')
      const bytes = await readFile(table)
      for (let at = 200; at < bytes.length - 2000; at += 500) bytes[at] = (bytes[at] ?? 0) ^ 1
      await writeFile(table, bytes)
      expect((await failure(begin())).code).to.equal('storage-damaged')
    })

    it('is damaged: a commit is missing', async () => {
      await written()
      const storage = await openStorage(data, 'master')
      await storage.batch([{ table: 'commits', key: '0000000000000020' }], { sync: false })
      await storage.close()
      expect((await failure(begin())).message).to.contain('commit 20 is missing')
    })

    it('is damaged: a part of the snapshot is missing', async () => {
      const life = await Life.begin(data, { ...initial(), list: Array.from({ length: 40 }, () => 'x'.repeat(10_000)) })
      await life.end()
      const storage = await openStorage(data, 'master')
      await storage.batch([{ table: 'snapshots', key: '0000000000000000/0000000000000002' }], { sync: false })
      await storage.close()
      expect((await failure(begin())).message).to.contain('has 2 of its')
    })

    it('is held: by whom is said', async () => {
      const life = await begin()
      const error = await failure(begin())
      expect(error.code).to.equal('storage-locked')
      expect(error.message).to.contain(`process ${process.pid} since`)
      await life.end()
    })
  })

  describe('of a Master', () => {
    const url = 'http://127.0.0.1:1'
    const quiet = (warnings: string[] = []) => ({
      log: (level: string, sentence: string) => void (level === 'warn' && warnings.push(sentence)),
    })

    it('is opened without a name server', async () => {
      const store = createStore(initial())
      await using master = new Master(url, { store, data, ...quiet() })
      await master.open()
      await master.open()
      store.mutate((state) => void state.n++)
      await master.close()
      const again = createStore(initial())
      await using second = new Master(url, { store: again, data, ...quiet() })
      expect(again.getState().n).to.equal(0)
      await second.open()
      expect(again.getState().n).to.equal(1)
    })

    it('keeps what the store held before it was opened, and says when that is replaced', async () => {
      const warnings: string[] = []
      const store = createStore(initial())
      const master = new Master(url, { store, data, ...quiet(warnings) })
      store.mutate((state) => void (state.n = 5))
      await master.open()
      await master.close()
      const again = createStore(initial())
      const second = new Master(url, { store: again, data, ...quiet(warnings) })
      again.mutate((state) => void (state.n = 7))
      expect(warnings).to.deep.equal([])
      const opening = second.open()
      await new Promise((resolve) => setImmediate(resolve))
      expect(() => again.mutate((state) => void (state.n = 8))).to.throw(NamedMasterError).with.property('code', 'store-busy') // prettier-ignore
      await opening
      expect(again.getState().n).to.equal(5)
      expect(warnings).to.have.length(1)
      await second.close()
    })

    it('tells who has the folder, and can be opened when it is free', async () => {
      const holder = await begin()
      const store = createStore(initial())
      await using master = new Master(url, { store, data, ...quiet() })
      expect((await failure(master.open())).code).to.equal('storage-locked')
      store.mutate((state) => void (state.n = 3))
      await holder.end()
      await master.open()
      expect(store.getState().n).to.equal(0)
    })

    it('is the same for a store that is not ours', async () => {
      const foreign = (state: { count: number }) => ({
        on: () => undefined,
        emit: () => undefined,
        getState: () => state,
        mutate: (change: (before: typeof state) => typeof state) => void (state = change(state)),
      })
      const first = foreign({ count: 1 })
      const master = new Master(url, { store: first, data, ...quiet() })
      await master.open()
      first.mutate(({ count }) => ({ count: count + 1 }))
      await master.close()
      const second = foreign({ count: 1 })
      await using again = new Master(url, { store: second, data, ...quiet() })
      await again.open()
      expect(second.getState()).to.deep.equal({ count: 2 })
    })
  })
})
