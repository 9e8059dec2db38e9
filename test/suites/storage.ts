/** What every storage keeps to, whatever it is on: run against each of them. */
import { expect } from 'chai'
import type { Range, Storage } from '#storage'

const SYNC = { sync: false }

export function storageSuite(name: string, open: () => Promise<Storage>): void {
  describe(`a storage: ${name}`, () => {
    let storage: Storage
    const entries = async (range?: Range): Promise<[string, unknown][]> => {
      const found: [string, unknown][] = []
      for await (const entry of storage.table('t').iterator(range)) found.push(entry)
      return found
    }
    const keys = async (range?: Range): Promise<string> => (await entries(range)).map(([key]) => key).join('')

    beforeEach(async () => void (storage = await open()))
    afterEach(() => storage.close())

    it('keeps JSON values under keys, table by table', async () => {
      await storage.table('t').put('a', { deep: [1, 'two', null] }, SYNC)
      await storage.table('other').put('a', 3, SYNC)
      expect(await storage.table('t').get('a')).to.deep.equal({ deep: [1, 'two', null] })
      expect(await storage.table('other').get('a')).to.equal(3)
      expect(await storage.table('t').get('b')).to.equal(undefined)
      await storage.table('t').del('a', { sync: true })
      expect(await entries()).to.deep.equal([])
      expect(await storage.table('other').get('a')).to.equal(3)
    })

    it('writes a batch in its order, and deletes what has no value', async () => {
      const writes = [
        { table: 't', key: 'a', value: 1 },
        { table: 't', key: 'b', value: 2 },
        { table: 't', key: 'a' },
        { table: 't', key: 'b', value: 3 },
      ]
      await storage.batch(writes, { sync: true })
      expect(await entries()).to.deep.equal([['b', 3]])
    })

    it('hands out values that are nobody else’s', async () => {
      await storage.table('t').put('a', { n: 1 }, SYNC)
      const found = (await storage.table('t').get('a')) as { n: number }
      found.n = 2
      expect(await storage.table('t').get('a')).to.deep.equal({ n: 1 })
    })

    it('goes through a range in the order of the keys', async () => {
      await storage.batch(
        'dbeac'.split('').map((key) => ({ table: 't', key, value: key })),
        SYNC,
      )
      expect(await keys()).to.equal('abcde')
      expect(await keys({ gt: 'b', lt: 'e' })).to.equal('cd')
      expect(await keys({ gte: 'b', lte: 'd' })).to.equal('bcd')
      expect(await keys({ reverse: true, limit: 2 })).to.equal('ed')
      await storage.clear('t', { gte: 'b', lt: 'd' })
      expect(await keys()).to.equal('ade')
      await storage.clear('t', {})
      expect(await keys()).to.equal('')
    })

    it('does one write after the other', async () => {
      const numbers = Array.from({ length: 20 }, (_, n) => n)
      const puts = numbers.map((value) => storage.table('t').put('a', value, { sync: value % 5 === 0 }))
      const cleared = storage.clear('t', {})
      const last = storage.table('t').put('b', 1, SYNC)
      await Promise.all([...puts, cleared, last])
      expect(await entries()).to.deep.equal([['b', 1]])
    })

    it('is closed once and for all', async () => {
      expect(storage.open).to.equal(true)
      await storage.close()
      await storage.close()
      expect(storage.open).to.equal(false)
      const refused = await storage.table('t').put('a', 1, SYNC).then(() => 'written', () => 'refused') // prettier-ignore
      expect(refused).to.equal('refused')
    })
  })
}
