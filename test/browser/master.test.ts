/** A master in a real Chromium's tab: its store in IndexedDB under a Web Lock, its slaves in Node and in other pages. */
import { expect } from 'chai'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type * as NamedMasterModule from 'named-master'
import { Slave, type Master } from 'named-master'
import { nativeConnections } from '#src/link/native.js'
import { INSECURE_HOST, launchChromium, Site, visit, type Visit } from '../suites/pages.js'
import type { RtcEngine } from '#rtc'
import { cut, hears, Journal, recordingRtc, shows } from '../suites/setting.js'
import { Bookkeeper, discrepancies, type Counted } from '../suites/storekeepers.js'

interface PageWindow {
  readonly NamedMaster: typeof NamedMasterModule
  readonly master: Master
  readonly started: Promise<string>
  slave: Slave<Counted>
}
declare const window: PageWindow

const page = (script: string): string =>
  `<!doctype html><title>garage</title><link rel="icon" href="data:,"><p id="n"></p>
  <script src="/named-master.js"></script><script>${script}</script>`
const COUNT = `const count = ({ tokens }, token) => void (tokens[token] = (tokens[token] ?? 0) + 1)`
/** Answers what became of it: the answer, or the code and the sentence. */
const host = (options = ''): string =>
  page(`${COUNT}
    const store = NamedMaster.createStore({ tokens: {} })
    store.on('count', count)
    window.master = new NamedMaster.Master(location.origin, { store, data: 'garage', log: () => {} ${options} })
    window.started = master.startServer('garage').catch(({ code, message }) => code + ': ' + message)`)

const PAGES = {
  '/host': host(),
  '/disk': host(`, durability: 'disk'`),
  '/guest': page(`${COUNT}
    window.slave = new NamedMaster.Slave(location.origin, { log: () => {} })
    slave.on('count', count)
    slave.subscribe(() => (document.getElementById('n').textContent = Object.keys(slave.getState().tokens).length))
    window.started = slave.connect('garage', { wait: true }).then(String)`),
}

describe('a master in a tab', function () {
  this.timeout(60_000)
  const journal = new Journal()
  let browser: Browser
  let site: Site
  let context: BrowserContext
  let visits: Visit[]
  const slaves: Slave<Counted>[] = []

  before(async () => {
    browser = await launchChromium()
  })
  after(() => browser.close())
  beforeEach(async () => {
    visits = []
    // A name server of its own: the name is registered by the first page.
    site = await Site.open(PAGES, {}, journal.log)
    context = await browser.newContext()
  })
  afterEach(async () => {
    const complaints = visits.flatMap((one) => one.complaints)
    await Promise.all(slaves.splice(0).map((slave) => slave.disconnect()))
    await context.close()
    await site.close()
    await nativeConnections.idle()
    expect(complaints, 'errors in the pages').to.deep.equal([])
  })

  /** A page, and what its master or its slave answered. */
  async function open(path: string, where = '127.0.0.1'): Promise<{ page: Page; answer: string }> {
    const visited = await visit(context, site.at(where) + path)
    visits.push(visited)
    return { page: visited.page, answer: await visited.page.evaluate(() => window.started) }
  }

  async function book(name: string, rtc?: RtcEngine): Promise<Bookkeeper> {
    const slave = new Slave<Counted>(site.nameServer.url, { log: journal.log, ...(rtc && { rtc }) })
    slaves.push(slave)
    const keeper = new Bookkeeper(name, slave)
    expect(await slave.connect('garage')).to.equal(true)
    return keeper
  }

  const countInPage = (guest: Page, token: string): Promise<void> =>
    guest.evaluate((token) => {
      window.slave.emit('count', token)
      return window.slave.settled()
    }, token)
  const showsCount = (guest: Page, n: number): Promise<unknown> =>
    guest.locator('#n', { hasText: new RegExp(`^${n}$`) }).waitFor()

  it('serves Node and other pages, and has its state and its clients again when it is reloaded', async () => {
    const { page: tab, answer } = await open('/host')
    expect(answer).to.equal('registered')
    const keeper = await book('node')
    const { page: guest } = await open('/guest')
    await keeper.makeAndSettle(3)
    await countInPage(guest, 'guest')
    await Promise.all([showsCount(guest, 4), shows(keeper.slave, ({ tokens }) => Object.keys(tokens).length === 4)])

    const { client } = keeper.slave
    const back = hears(keeper.slave.events, 'resumed')
    await tab.reload()
    expect(await tab.evaluate(() => window.started)).to.equal('started')
    await back
    await keeper.makeAndSettle(2)
    await countInPage(guest, 'guest again')
    await showsCount(guest, 7)
    const state = await shows(keeper.slave, ({ tokens }) => Object.keys(tokens).length === 7)
    expect(discrepancies(state, [keeper])).to.deep.equal([])
    expect([keeper.slave.client, keeper.lost, [...keeper.refused]]).to.deep.equal([client, [], []])
  })

  it('a second tab with the same data is told who has it, and gets it when the first is closed', async () => {
    const { page: first } = await open('/host')
    const { page: second, answer } = await open('/host')
    expect(answer).to.match(
      /^storage-locked: The database "garage" is held by another tab of this page: close that one/,
    )
    await first.close()
    await second.reload()
    expect(await second.evaluate(() => window.started)).to.equal('started')
  })

  it("refuses 'disk', which a browser does not keep, and a page that cannot be kept from other tabs", async () => {
    expect((await open('/disk')).answer).to.match(/^invalid-config: .*use the durability 'process'$/)
    expect((await open('/host', INSECURE_HOST)).answer).to.match(/^storage-failed: .*over https, or from localhost$/)
  })

  it('loses nothing that was acknowledged when its tab is closed in the middle of work', async () => {
    await open('/host')
    const { rtc, peers } = await recordingRtc()
    const keeper = await book('node', rtc)
    for (let closing = 0; closing < 3; closing++) {
      await keeper.makeAndSettle(20)
      const tab = visits.at(-1) as Visit
      const back = hears(keeper.slave.events, 'resumed')
      keeper.make(30)
      await tab.page.close()
      keeper.make(5)
      // As the heartbeat would find within ten seconds.
      await cut(peers.at(-1))
      expect((await open('/host')).answer).to.equal('started')
      await back
      await keeper.slave.settled()
    }
    const witness = await book('witness')
    const state = await shows(witness.slave, ({ tokens }) => Object.keys(tokens).length === 3 * 55)
    expect(discrepancies(state, [keeper])).to.deep.equal([])
    expect([keeper.lost, [...keeper.refused]]).to.deep.equal([[], []])
  })
})
