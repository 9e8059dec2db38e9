/**
 * Slaves in a real Chromium on a master in Node: the file for a <script> tag, a bundle, insecure origins, strict pages,
 * and how pages come and go.
 */
import { expect } from 'chai'
import { build } from 'esbuild'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type * as NamedMasterModule from 'named-master'
import { createStore, Master, Slave, type MasterOptions, type Microstore } from 'named-master'
import { systemClock, type Clock } from '#src/clock.js'
import { nativeConnections } from '#src/link/native.js'
import { INSECURE_HOST, launchChromium, Site, visit, type Visit } from '../suites/pages.js'
import { hears, Journal, recordingRtc, shows } from '../suites/setting.js'

interface State {
  readonly n: number
}
/** What the pages of this test put on their window. */
interface PageWindow {
  readonly NamedMaster: typeof NamedMasterModule
  slave: Slave<State>
  readonly connected: Promise<boolean>
  readonly refused: string[]
}
declare const window: PageWindow

/** The name is the same master's in every test. */
const KEY = 'k'.repeat(43)

/** Begins at once, as a page does, and shows the state. The name server is the page's own origin. */
const BEGIN = `
  var slave = window.slave = new Slave(location.origin)
  window.refused = []
  slave.subscribe(() => { document.getElementById('n').textContent = slave.getState().n })
  slave.on('add', (state, by) => ({ n: state.n + by }))
  window.connected = slave.connect('garage', { wait: true })`
const html = (scripts: string): string =>
  `<!doctype html><title>garage</title><link rel="icon" href="data:,"><p id="n"></p>${scripts}`

const PAGES = {
  '/': html(`<script src="/named-master.js"></script><script>const { Slave } = NamedMaster; ${BEGIN}</script>`),
  '/strict': html('<script src="/named-master.js"></script><script src="/strict.js"></script>'),
  '/strict.js': `const { Slave } = NamedMaster; ${BEGIN}`,
  '/bundled': html('<script type="module" src="/bundled.js"></script>'),
}
const POLICIES = {
  '/strict':
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; require-trusted-types-for 'script'",
}

describe('the main path in Chromium', function () {
  this.timeout(60_000)
  const journal = new Journal()
  let browser: Browser
  let site: Site
  let store: Microstore<State>
  let master: Master
  let running: Master | undefined
  let context: BrowserContext
  let visits: Visit[]

  before(async () => {
    const bundled = await build({
      stdin: { contents: `import { Slave } from 'named-master/slave'; ${BEGIN}`, resolveDir: process.cwd() },
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      logLevel: 'silent',
    })
    expect(bundled.warnings).to.deep.equal([])
    const pages = { ...PAGES, '/bundled.js': bundled.outputFiles[0]?.text ?? '' }
    ;[browser, site] = await Promise.all([launchChromium(), Site.open(pages, POLICIES, journal.log)])
  })
  after(async () => {
    await browser.close()
    await site.close()
  })

  beforeEach(async () => {
    visits = []
    store = createStore<State>({ n: 0 })
    store.on('add', (state, by: number) => ({ n: state.n + by }))
    await restart()
    context = await browser.newContext()
  })
  afterEach(async () => {
    const complaints = visits.flatMap((one) => one.complaints)
    await context.close()
    await master.close()
    await nativeConnections.idle()
    expect(complaints, 'errors in the pages').to.deep.equal([])
  })

  /** Another master of the same store. */
  async function restart(options: Partial<MasterOptions> = {}): Promise<void> {
    await running?.close()
    running = master = new Master(site.nameServer.url, { log: journal.log, key: KEY, ...options, store })
    await master.startServer('garage')
  }

  /** A page whose slave is connected. */
  async function open(path = '/', host = '127.0.0.1', where = context): Promise<Page> {
    const visited = await visit(where, site.at(host) + path)
    visits.push(visited)
    await visited.page.waitForFunction(() => (window as Partial<PageWindow>).connected)
    expect(await visited.page.evaluate(() => window.connected)).to.equal(true)
    return visited.page
  }
  const add = (page: Page, by = 1): Promise<void> =>
    page.evaluate((by) => {
      window.slave.emit('add', by)
      return window.slave.settled()
    }, by)
  const showsCount = (page: Page, n: number): Promise<unknown> =>
    page.locator('#n', { hasText: new RegExp(`^${n}$`) }).waitFor()

  it('two pages and a slave in Node see each other\u2019s changes', async () => {
    const [one, two] = [await open(), await open()]
    const node = new Slave<State>(site.nameServer.url, { log: journal.log })
    expect(await node.connect('garage')).to.equal(true)
    await add(one)
    await Promise.all([showsCount(two, 1), shows(node, ({ n }) => n === 1)])
    node.mutate(({ n }) => ({ n: n + 10 }))
    await Promise.all([showsCount(one, 11), showsCount(two, 11)])
    await two.evaluate(() => window.slave.mutate(({ n }) => ({ n: n + 100 })))
    await Promise.all([showsCount(one, 111), shows(node, ({ n }) => n === 111)])
    expect(store.getState()).to.deep.equal({ n: 111 })
    expect(master.slaves).to.have.length(3)
    await node.disconnect()
  })

  it('many mutates of pages and Node at once lose nothing', async () => {
    const pages = [await open(), await open()]
    const node = new Slave<State>(site.nameServer.url, { log: journal.log })
    await node.connect('garage')
    const inPage = () => {
      for (let i = 0; i < 100; i++) window.slave.mutate(({ n }) => ({ n: n + 1 }))
      return window.slave.settled()
    }
    for (let i = 0; i < 100; i++) node.mutate(({ n }) => ({ n: n + 1 }))
    await Promise.all([node.settled(), ...pages.map((page) => page.evaluate(inPage))])
    expect(store.getState()).to.deep.equal({ n: 300 })
    await node.disconnect()
  })

  it('a page gets a state of many parts, and goes on while they come', async () => {
    const notes = Array.from({ length: 20_000 }, (_, id) => ({ id, text: `note ${id} é\u{1f600} `.repeat(8) }))
    store.mutate((state) => ({ ...state, notes }))
    const page = await open()
    await page.evaluate(() => window.slave.settled())
    const shown = await page.evaluate(() => JSON.stringify(window.slave.getState()))
    expect(shown.length).to.be.greaterThan(2_500_000)
    expect(shown === JSON.stringify(store.getState())).to.equal(true)
    await add(page)
    expect((await shows(store, ({ n }) => n === 1)).n).to.equal(1)
  })

  it('calls run at the master', async () => {
    master.expose('sum', ({ a, b }: { a: number; b: number }) => a + b)
    const page = await open()
    expect(await page.evaluate(() => window.slave.call('sum', { a: 1, b: 2 }))).to.equal(3)
    const code = await page.evaluate(() =>
      window.slave.call('toString').catch((error: unknown) => (error as { code: string }).code),
    )
    expect(code).to.equal('no-such-method')
  })

  it('a page that is reloaded is another slave, with the state as it is', async () => {
    const page = await open()
    await add(page, 5)
    const [left, joined] = [hears(master.events, 'slave-left'), hears(master.events, 'slave-joined')]
    await page.reload()
    await Promise.all([left, joined])
    await page.evaluate(() => window.connected)
    await showsCount(page, 5)
    await add(page, 1)
    expect(store.getState()).to.deep.equal({ n: 6 })
    expect(master.slaves).to.have.length(1)
  })

  it('a page that is closed or left is noticed by what it says, not by its silence', async () => {
    // For this master no time passes, so that no silence is ever too long.
    await restart({ clock: { ...systemClock, now: () => 0 } })
    const [closing, leaving, staying] = [await open(), await open(), await open()]
    let left = hears(master.events, 'slave-left')
    await closing.close()
    await left
    left = hears(master.events, 'slave-left')
    await leaving.goto('about:blank')
    await left
    expect(master.slaves).to.have.length(1)
    await add(staying)
  })

  for (const [path, what] of [
    ['/', 'the file for a script tag'],
    ['/bundled', 'a bundle of named-master/slave'],
    ['/strict', 'a page with a strict policy'],
  ] as const) {
    it(`${what} works on plain http of another machine, without crypto.subtle and randomUUID`, async () => {
      const page = await open(path, INSECURE_HOST)
      const found = await page.evaluate(() => [isSecureContext, typeof crypto.subtle, typeof crypto.randomUUID])
      expect(found).to.deep.equal([false, 'undefined', 'undefined'])
      await add(page, 3)
      await showsCount(page, 3)
      expect(store.getState()).to.deep.equal({ n: 3 })
    })
  }

  it('a page whose link is cut takes up its session over another', async () => {
    const { rtc, peers } = await recordingRtc()
    await restart({ rtc })
    const page = await open()
    await add(page)
    const client = await page.evaluate(() => window.slave.client)
    const resumed = page.evaluate(
      () => new Promise((resolve) => window.slave.events.once('resumed', () => resolve(true))),
    )
    peers[0]!.close()
    expect(await resumed).to.equal(true)
    await add(page)
    expect(store.getState()).to.deep.equal({ n: 2 })
    expect(await page.evaluate(() => window.slave.client)).to.equal(client)
    expect(master.slaves).to.have.length(1)
  })

  it('a page in the background gets more time than one that is seen', async () => {
    // Ten times as fast, so that ten seconds of silence are one.
    const clock: Clock = {
      now: () => performance.now() * 10,
      setTimeout: (callback, ms) => setTimeout(callback, ms / 10),
      clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
    }
    await restart({ clock })
    master.expose('nothing', () => null)
    const hidden = await open()
    await hidden.evaluate(() => {
      Object.defineProperty(document, 'visibilityState', { value: 'hidden' })
      document.dispatchEvent(new Event('visibilitychange'))
      return window.slave.call('nothing')
    })
    // Nothing of a page runs while it waits for this.
    const hold = async (page: Page): Promise<Promise<unknown>[]> => {
      const holds = site.holds()
      const held = page.evaluate(() => {
        const request = new XMLHttpRequest()
        request.open('GET', '/hold', false)
        request.send()
      })
      await holds
      return [held]
    }
    const hiddenHeld = await hold(hidden)
    // Of another context, and so of another process; it falls silent later than the hidden one, and is gone before.
    const elsewhere = await browser.newContext()
    const seen = await open('/', '127.0.0.1', elsewhere)
    const seenClient = await seen.evaluate(() => window.slave.client)
    const left = hears(master.events, 'slave-left')
    const seenHeld = await hold(seen)
    expect(await left).to.deep.equal([{ client: seenClient }])
    expect(master.slaves).to.have.length(1)
    const back = hears(master.events, 'slave-joined')
    site.release()
    await Promise.all([...hiddenHeld, ...seenHeld])
    expect(await back).to.deep.equal([{ client: seenClient }])
    await elsewhere.close()
  })

  it('a page whose master stops is reconnecting, keeps what is changed, and returns', async () => {
    const page = await open()
    await master.stopServer()
    await page.waitForFunction(() => window.slave.status === 'reconnecting')
    await page.evaluate(() => {
      window.slave.emit('add', 7)
    })
    await showsCount(page, 7)
    expect(store.getState()).to.deep.equal({ n: 0 })
    await master.startServer('garage')
    await shows(store, ({ n }) => n === 7)
    await page.evaluate(() => window.slave.settled())
    expect(await page.evaluate(() => window.slave.status)).to.equal('connected')
  })
})
