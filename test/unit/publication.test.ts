import { deflate } from '#deflate'
import { expect } from 'chai'
import { Publication, type PublicationOptions } from '#src/master/publication.js'
import type { JournalBatch } from '#src/master/journal.js'
import type { ClientRecord } from '#src/master/kept.js'
import { coreOf, createStore } from '#src/store/store.js'
import { Authority } from '#src/store/authority.js'
import { envelope } from '#src/protocol/envelope.js'
import { parseDown } from '#src/protocol/replication.js'
import { ManualClock } from 'named-master/testing'

interface Write {
  readonly batch: JournalBatch
  readonly succeed: () => Promise<void>
  readonly fail: () => Promise<void>
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const record = (client: number): ClientRecord => ({ client, hash: `hash ${client}`, seen: 0 })

/** A master's publication over a journal that writes when the test lets it. */
function world(options: Partial<PublicationOptions> = {}) {
  const clock = new ManualClock()
  const store = createStore({ n: 0, text: '' })
  const core = coreOf(store)
  if (core === undefined) expect.fail('a store has a core')
  const writes: Write[] = []
  const log: string[] = []
  const happened: string[] = []
  const authority: Authority = new Authority(core, {
    encode: (commit) => JSON.stringify(envelope('commit', commit)),
    now: () => clock.now(),
    admit: () => publication.admit(),
    committed: (entry) => publication.commit(entry),
    volatile: () => undefined,
  })
  const publication: Publication = new Publication(core, authority, {
    append: (batch) =>
      new Promise((resolve, reject) => {
        writes.push({
          batch,
          succeed: () => (resolve(), turn()),
          fail: () => (reject(new Error('disk full')), turn()),
        })
      }),
    deflate,
    clock,
    log: (level, sentence) => void log.push(`${level} ${sentence}`),
    written: () => void happened.push(`written ${publication.written}`),
    ...options,
  })
  const change = (): void => void store.mutate((state) => void state.n++)
  const versions = (write: Write | undefined) => write?.batch.commits.map(({ commit }) => commit.version)
  return { clock, store, writes, log, happened, publication, authority, change, versions }
}

describe('publication', () => {
  it('lets nothing out before it is written', async () => {
    const { publication, writes, happened, change } = world()
    change()
    publication.after(() => happened.push('answer'))
    await turn()
    expect([publication.written, happened]).deep.equal([0, []])
    await writes[0]?.succeed()
    expect([publication.written, happened]).deep.equal([1, ['written 1', 'answer']])
  })

  it('lets out at once what follows from nothing that has to be written', async () => {
    const { publication, writes, happened, change } = world()
    publication.after(() => happened.push('first'))
    expect(happened).deep.equal(['first'])
    change()
    await writes[0]?.succeed()
    publication.after(() => happened.push('second'))
    expect(happened).deep.equal(['first', 'written 1', 'second'])
  })

  it('writes all that came meanwhile in one batch, in order', async () => {
    const { writes, change, versions, publication } = world()
    for (let i = 0; i < 3; i++) change()
    publication.client(record(1))
    publication.client({ ...record(1), seen: 5 })
    await turn()
    expect(writes).length(1)
    await writes[0]?.succeed()
    expect(writes).length(2)
    expect(writes.map(versions)).deep.equal([[1], [2, 3]])
    expect(writes[1]?.batch.clients, 'the latest of each').deep.equal([{ ...record(1), seen: 5 }])
    await writes[1]?.succeed()
    expect(publication.written).equal(3)
  })

  it('keeps an action for all that was applied when it was given, and for nothing that came after', async () => {
    const { publication, writes, happened, change } = world()
    change()
    publication.after(() => happened.push('one'))
    change()
    publication.after(() => happened.push('two'))
    publication.after(() => happened.push('two again'))
    change()
    await writes[0]?.succeed()
    expect(happened).deep.equal(['written 1', 'one'])
    await writes[1]?.succeed()
    expect(happened.slice(2)).deep.equal(['written 3', 'two', 'two again'])
  })

  it('keeps a client’s record back like a commit', async () => {
    const { publication, writes, happened } = world()
    publication.client(record(1))
    publication.after(() => happened.push('welcome'))
    await turn()
    expect(happened).deep.equal([])
    await writes[0]?.succeed()
    expect(happened).deep.equal(['written 0', 'welcome'])
  })

  it('runs what an action or the news of a batch asks for, though nothing more is to be written', async () => {
    const asked: string[] = []
    const { publication, writes, change } = world({
      written: () => publication.after(() => asked.push('by the news')),
    })
    change()
    publication.after(() => {
      asked.push('first')
      publication.after(() => asked.push('inside'))
    })
    publication.after(() => asked.push('second'))
    await writes[0]?.succeed()
    expect(asked).deep.equal(['first', 'second', 'by the news', 'inside'])
  })

  describe('when a batch cannot be written', () => {
    it('tries it again until it can, and what came after it then, in order', async () => {
      const { publication, writes, clock, versions, change, happened, log, store } = world()
      change()
      change()
      publication.after(() => happened.push('answer'))
      await writes[0]?.fail()
      expect(publication.failing).equal(true)
      expect(() => store.emit('e'))
        .throw()
        .with.property('code', 'storage-full')
      expect(() => publication.admit())
        .throw()
        .with.property('code', 'storage-full')
      await clock.advance(1000)
      await writes[1]?.fail()
      await clock.advance(1000)
      expect(writes.map(versions)).deep.equal([[1], [1], [1]])
      expect(happened).deep.equal([])
      await writes[2]?.succeed()
      expect(versions(writes[3])).deep.equal([2])
      expect(publication.failing).equal(false)
      await writes[3]?.succeed()
      expect(happened).deep.equal(['written 1', 'written 2', 'answer'])
      expect(log.map((line) => line.split(' ')[0])).deep.equal(['error', 'info'])
      change()
      expect(versions(writes[4])).deep.equal([3])
    })

    it('takes changes again as soon as it is written', async () => {
      const { store, writes, clock, change } = world()
      change()
      await writes[0]?.fail()
      expect(change).throw()
      await clock.advance(1000)
      await writes[1]?.succeed()
      change()
      expect(store.getState().n).equal(2)
    })
  })

  describe('snapshots', () => {
    it('are shared until the commits since then are more than the state', async () => {
      const { publication, store, change } = world()
      store.mutate((state) => void (state.text = 'x'.repeat(1000)))
      const first = publication.snapshot()
      expect(first.version).equal(1)
      change()
      expect(publication.snapshot()).equal(first)
      for (let i = 0; i < 20; i++) change()
      const second = publication.snapshot()
      expect(second.version).equal(22)
      const [text = '', ...more] = second.messages as string[]
      expect([publication.snapshotCharacters, more]).deep.equal([text.length, []])
      const parsed = parseDown(JSON.parse(text))
      expect(parsed.ok && parsed.value.payload).deep.equal({ version: 22, state: store.getState() })
    })

    it('are of what is applied, written or not: they leave when it is written', async () => {
      const { publication, writes, change, happened } = world()
      change()
      const snapshot = publication.snapshot()
      publication.after(() => happened.push(`snapshot ${snapshot.version}`))
      expect(happened).deep.equal([])
      await writes[0]?.succeed()
      expect(happened).deep.equal(['written 1', 'snapshot 1'])
    })
  })

  describe('close', () => {
    it('waits until all is written', async () => {
      const { publication, writes, change } = world()
      change()
      change()
      let closed = false
      const closing = publication.close().then(() => (closed = true))
      await writes[0]?.succeed()
      expect(closed).equal(false)
      await writes[1]?.succeed()
      await closing
    })

    it('does not wait for what cannot be written, and leaves no timer', async () => {
      const { publication, writes, change, clock } = world()
      change()
      await writes[0]?.fail()
      await publication.close()
      expect(clock.timers).equal(0)
      const another = world()
      another.change()
      const closing = another.publication.close()
      await another.writes[0]?.fail()
      await closing
      expect(another.clock.timers).equal(0)
    })

    it('is at once when there is nothing to write', async () => {
      await world().publication.close()
    })
  })
})
