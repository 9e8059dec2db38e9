/** Persistent outboxes in a real Chromium: a page that is reloaded, two tabs, a tab that is closed. */
import { expect } from 'chai'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type * as NamedMasterModule from 'named-master'
import { createStore, Master, type Microstore, type SlaveEvents } from 'named-master'
import { nativeConnections } from '#src/link/native.js'
import { INSECURE_HOST, launchChromium, Site, visit, type Visit } from '../suites/pages.js'
import { Journal, shows } from '../suites/setting.js'

interface State {
  readonly n: number
  readonly title?: string
}
type Refusal = SlaveEvents['refused'][0]

/** What the pages of this test put on their window. */
interface PageWindow {
  readonly NamedMaster: typeof NamedMasterModule
  readonly slave: NamedMasterModule.Slave<State>
  readonly connected: Promise<boolean>
  readonly refused: Refusal[]
}
declare const window: PageWindow

const PAGE = `<!doctype html><title>garage</title><link rel="icon" href="data:,">
<script src="/named-master.js"></script>
<script>
  window.slave = new NamedMaster.Slave(location.origin, { outbox: 'persistent' })
  slave.on('add', (state, by) => ({ ...state, n: state.n + by }))
  window.refused = []
  slave.events.on('refused', (refusal) => refused.push(refusal))
  window.connected = slave.connect('garage', { wait: true })
</script>`

/** Of the database that Level makes for a slot. */
const DATABASE = 'level-js-named-master/outbox/outbox/'

describe('a persistent outbox in Chromium', function () {
  this.timeout(60_000)
  const journal = new Journal()
  let browser: Browser
  let site: Site
  let store: Microstore<State>
  let master: Master
  let context: BrowserContext
  let visits: Visit[]

  before(async () => {
    ;[browser, site] = await Promise.all([launchChromium(), Site.open({ '/': PAGE }, {}, journal.log)])
  })
  after(async () => {
    await browser.close()
    await site.close()
  })

  beforeEach(async () => {
    visits = []
    store = createStore<State>({ n: 0 })
    store.on('add', (state, by: number) => ({ ...state, n: state.n + by }))
    store.on('fail', () => {
      throw new Error('no')
    })
    master = new Master(site.nameServer.url, { log: journal.log, key: 'k'.repeat(43), store })
    await master.startServer('garage')
    context = await browser.newContext()
  })
  afterEach(async () => {
    const complaints = visits.flatMap((one) => one.complaints)
    await context.close()
    await master.close()
    await nativeConnections.idle()
    expect(complaints, 'errors in the pages').to.deep.equal([])
  })

  const connected = (page: Page): Promise<boolean> => page.evaluate(() => window.connected)
  async function open(): Promise<Page> {
    const visited = await visit(context, site.at('127.0.0.1'))
    visits.push(visited)
    expect(await connected(visited.page)).to.equal(true)
    return visited.page
  }
  async function stop(...pages: Page[]): Promise<void> {
    await master.stopServer()
    for (const page of pages) await page.waitForFunction(() => window.slave.status === 'reconnecting')
  }
  /** So many changes are in the databases of a page's origin. */
  const keeps = (page: Page, changes: number): Promise<unknown> =>
    page.waitForFunction(
      async ({ database, changes }) => {
        let sum = 0
        for (const { name = '' } of await indexedDB.databases()) {
          if (!name.startsWith(database)) continue
          const opening = indexedDB.open(name)
          const level = await new Promise<IDBDatabase>((resolve) => (opening.onsuccess = () => resolve(opening.result)))
          const counting = level
            .transaction(name.replace('level-js-', ''))
            .objectStore(name.replace('level-js-', ''))
            .getAllKeys()
          const keys = await new Promise<IDBValidKey[]>(
            (resolve) => (counting.onsuccess = () => resolve(counting.result)),
          )
          sum += keys.filter((key) => new TextDecoder().decode(key as ArrayBuffer).startsWith('!changes!')).length
          level.close()
        }
        return sum === changes
      },
      { database: DATABASE, changes },
    )
  const settled = (page: Page): Promise<void> => page.evaluate(() => window.slave.settled())
  const add = (page: Page, by: number): Promise<void> => page.evaluate((by) => window.slave.emit('add', by), by)
  const client = (page: Page): Promise<number | undefined> => page.evaluate(() => window.slave.client)

  it('survives a reload while the master is away, and arrives once', async () => {
    const page = await open()
    const before = await client(page)
    await stop(page)
    await add(page, 5)
    await page.evaluate(() => window.slave.mutate((state) => ({ ...state, title: 'offline' })))
    await keeps(page, 2)
    await page.reload()
    expect(await page.evaluate(() => window.slave.getState())).to.equal(undefined)
    await master.startServer('garage')
    expect(await connected(page)).to.equal(true)
    await settled(page)
    expect([store.getState(), await client(page)]).to.deep.equal([{ n: 5, title: 'offline' }, before])
    await keeps(page, 0)
  })

  it('refuses a mutate that comes out of it and conflicts, with its patch', async () => {
    const page = await open()
    await stop(page)
    await page.evaluate(() => window.slave.mutate((state) => ({ ...state, n: state.n + 1 })))
    await keeps(page, 1)
    await page.reload()
    store.mutate((state) => ({ ...state, n: 50 }))
    await master.startServer('garage')
    await page.waitForFunction(() => window.refused.length > 0)
    const [{ code, patch }] = (await page.evaluate(() => window.refused)) as [Refusal]
    expect([code, patch]).to.deep.equal(['conflict-not-repeatable', [{ op: 'replace', path: '/n', value: 1 }]])
    expect([store.getState(), await page.evaluate(() => window.slave.getState())]).to.deep.equal([{ n: 50 }, { n: 50 }])
  })

  it('is another one in every tab, a duplicated one included', async () => {
    const one = await open()
    const two = await open()
    const [popup] = await Promise.all([
      context.waitForEvent('page'),
      one.evaluate(() => void globalThis.open(location.href)),
    ])
    const clients = new Set<number | undefined>()
    for (const page of [one, two, popup]) {
      await page.waitForFunction(() => (window as Partial<PageWindow>).connected)
      expect(await connected(page)).to.equal(true)
      clients.add(await client(page))
    }
    expect(clients.size).to.equal(3)
    await stop(one, two, popup)
    for (const [i, page] of [one, two, popup].entries()) await add(page, 10 ** i)
    await master.startServer('garage')
    for (const page of [one, two, popup]) await settled(page)
    expect(store.getState()).to.deep.equal({ n: 111 })
  })

  it('of a closed tab is sent by another, which hears what was refused', async () => {
    const [one, two] = [await open(), await open()]
    await stop(one, two)
    await add(one, 7)
    await one.evaluate(() => window.slave.emit('fail'))
    await add(one, 70)
    await add(two, 100)
    await keeps(two, 4)
    await one.close()
    await master.startServer('garage')
    await shows(store, ({ n }) => n === 177)
    await keeps(two, 0)
    await two.waitForFunction(() => window.refused.length > 0)
    const refused = await two.evaluate(() => window.refused)
    expect(refused.map(({ code, event }) => [code, event])).to.deep.equal([['handler-failed', 'fail']])
    await two.reload()
    expect(await connected(two)).to.equal(true)
    await settled(two)
    expect(store.getState()).to.deep.equal({ n: 177 })
  })

  it('cannot be where tabs cannot be kept apart, and says so', async () => {
    const { page } = await visit(context, site.at(INSECURE_HOST))
    const error = await page.evaluate(async () => {
      const [outcome] = await Promise.allSettled([window.connected])
      const { code, message } = (outcome as PromiseRejectedResult).reason as NamedMasterModule.NamedMasterError
      return [code, message]
    })
    expect(error).to.be.an('array').with.property('0', 'storage-failed')
    expect(error).to.have.property('1').that.includes('https')
  })
})
