/**
 * examples/database as its users have it: the name server with the page, the master, a program of the command line, and
 * pages in a real browser, all at once. A test waits for what a page shows or a program prints, never a time.
 *
 * With SCREENSHOTS=1 it also saves the pictures in docs/images.
 */
import { expect } from 'chai'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Slave } from 'named-master/slave'
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core'
import { v7 } from 'uuid'
import { nativeConnections } from '#src/link/native.js'
import { launchChromium } from '../suites/pages.js'
import { Program } from '../suites/programs.js'

const IMAGES = fileURLToPath(new URL('../../docs/images', import.meta.url))
/** What a slow machine may need for a start, and for one step of a page. */
const START_MILLISECONDS = 60_000
const STEP_MILLISECONDS = 20_000

interface Part {
  readonly id: string
  readonly revision: number
  readonly amount: number
}
interface Database {
  list(query?: object): Promise<Part[]>
  put(part: object): Promise<Part>
  batch(writes: readonly object[]): Promise<Part[]>
}
interface Fields {
  readonly name: string
  readonly place?: string
  readonly amount?: number
  readonly note?: string
}

describe('the page of examples/database', function () {
  this.timeout(START_MILLISECONDS)

  let data: string
  let server: Program
  let master: Program
  let url: string
  let browser: Browser | undefined
  let slave: Slave
  let db: Database
  const contexts: BrowserContext[] = []
  const programs: Program[] = []
  const complaints: string[] = []

  const startMaster = async (): Promise<void> => {
    const environment = { NAME_SERVER: url, DATA: join(data, 'parts') }
    master = new Program(['examples/database/master.js'], { environment })
    await master.prints(/has \d+ parts/)
  }
  /** The program of the command line. */
  const command = (...args: string[]): Program => {
    const program = new Program(['examples/database/parts.js', ...args], { environment: { NAME_SERVER: url } })
    programs.push(program)
    return program
  }
  const parts = async (...args: string[]): Promise<string[]> => {
    const { code, lines, errors } = await command(...args).ended()
    expect(code, errors).to.equal(0)
    return lines
  }

  before(async () => {
    data = await mkdtemp(join(tmpdir(), 'database-'))
    const environment = { PORT: '0', HOST: '127.0.0.1', DATA: data }
    server = new Program(['examples/database/server.js', '--without-master'], { environment })
    url = (await server.prints(/NAME_SERVER=(\S+)/))[1] ?? ''
    await startMaster()
    slave = new Slave(url)
    expect(await slave.connect('parts')).to.equal(true)
    db = slave.proxy('db')
    browser = await launchChromium()
  })

  after(async () => {
    await browser?.close()
    await slave.disconnect()
    await nativeConnections.idle()
    expect(await master.end()).to.equal(0)
    expect(await server.end()).to.equal(0)
    await rm(data, { recursive: true, force: true })
  })

  afterEach(async () => {
    await Promise.all(programs.splice(0).map((program) => program.end()))
    await removeAll()
    await Promise.all(contexts.splice(0).map((context) => context.close()))
    expect(complaints.splice(0), 'errors in the pages').to.deep.equal([])
  })

  /** Opens the page and waits until it shows what the database has. */
  async function visit(look: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
    if (browser === undefined) throw new Error('Nothing is started')
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...look })
    contexts.push(context)
    const page = await context.newPage()
    page.setDefaultTimeout(STEP_MILLISECONDS)
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
    await page.goto(url)
    await page.locator('#count', { hasText: / / }).waitFor()
    return page
  }

  const row = (page: Page, text: string): Locator => page.locator('.part', { hasText: text })
  const hasAmount = (page: Page, text: string, amount: number): Promise<void> =>
    row(page, text).locator('.amount', { hasText: new RegExp(`^${amount}$`) }).waitFor() // prettier-ignore
  const editor = (page: Page): Locator => page.locator('#editor')

  async function fill(page: Page, { name, place = '', amount = 1, note = '' }: Fields): Promise<void> {
    await page.getByLabel('Name', { exact: true }).fill(name)
    await page.getByLabel('Place', { exact: true }).fill(place)
    await page.getByLabel('Amount', { exact: true }).fill(String(amount))
    await page.getByLabel('Note', { exact: true }).fill(note)
  }
  async function add(page: Page, fields: Fields): Promise<string> {
    await page.getByRole('button', { name: 'Add a part' }).click()
    await fill(page, fields)
    await page.getByRole('button', { name: 'Save' }).click()
    await editor(page).waitFor({ state: 'hidden' })
    await row(page, fields.name).waitFor()
    return (await row(page, fields.name).getAttribute('data-id')) ?? ''
  }
  async function openEditor(page: Page, text: string): Promise<void> {
    await row(page, text).locator('.name').click()
    await editor(page).waitFor()
  }
  const save = (page: Page): Promise<void> => page.getByRole('button', { name: 'Save' }).click()

  const put = (...given: Fields[]): Promise<unknown> =>
    db.batch(given.map((fields) => ({ op: 'put', document: { id: v7(), revision: 0, amount: 1, ...fields } })))
  async function removeAll(): Promise<void> {
    await db.batch((await db.list()).map(({ id, revision }) => ({ op: 'del', id, revision })))
  }

  it('shows what pages and programs write to each other, and takes what they remove away', async () => {
    const [ada, bob] = [await visit(), await visit({ viewport: { width: 390, height: 844 } })]
    await ada.getByText('No parts yet. Add the first one.').waitFor()
    const watcher = command('watch')
    await watcher.prints(/watching/)

    const id = await add(ada, { name: 'Brake pads', place: 'A3', amount: 4, note: 'front' })
    await hasAmount(bob, 'Brake pads', 4)
    await watcher.prints(new RegExp(`^${id}  r1  4 x  Brake pads  at A3  front$`))

    await parts('set', id, 'amount=6')
    for (const page of [ada, bob]) await hasAmount(page, 'Brake pads', 6)
    await bob.getByRole('button', { name: 'One Brake pads less' }).click()
    await hasAmount(ada, 'Brake pads', 5)
    await watcher.prints(new RegExp(`^${id}  r3  5 x`))
    await ada.locator('#count', { hasText: '1 in all' }).waitFor()

    await openEditor(bob, 'Brake pads')
    await bob.getByRole('button', { name: 'Remove' }).click()
    await row(ada, 'Brake pads').waitFor({ state: 'detached' })
    await watcher.prints(new RegExp(`^removed ${id}$`))
    expect(await watcher.end()).to.equal(0)
  })

  it('tells who writes on what is no longer so, and lets them decide', async () => {
    const [ada, bob] = [await visit(), await visit()]
    const id = await add(ada, { name: 'Spark plugs', place: 'B1', amount: 8 })
    await row(bob, 'Spark plugs').waitFor()

    for (const page of [ada, bob]) await openEditor(page, 'Spark plugs')
    await bob.getByLabel('Amount', { exact: true }).fill('7')
    await save(bob)
    await ada.getByText('Somebody has changed this part: the amount is “7” now.').waitFor()
    await ada.getByLabel('Place', { exact: true }).fill('B2')
    await save(ada)
    // The master's own words, and nothing is written.
    await ada
      .getByText('Somebody has changed this document meanwhile: it is at revision 2, and you have seen 1.')
      .waitFor()
    expect(await parts('list')).to.deep.equal([`${id}  r2  7 x  Spark plugs  at B1`])

    await ada.getByRole('button', { name: 'Show what it is now' }).click()
    await ada.locator('#notice').waitFor({ state: 'hidden' })
    expect(await ada.getByLabel('Amount', { exact: true }).inputValue()).to.equal('7')
    await ada.getByLabel('Place', { exact: true }).fill('B2')
    await parts('set', id, 'note=gap 0.8')
    await ada.getByText('the note is “gap 0.8” now').waitFor()
    await ada.getByRole('button', { name: 'Write mine over it' }).click()
    await editor(ada).waitFor({ state: 'hidden' })
    expect(await parts('list')).to.deep.equal([`${id}  r4  7 x  Spark plugs  at B2`])

    await openEditor(ada, 'Spark plugs')
    await parts('remove', id)
    await ada.getByText('Somebody has removed this part.').waitFor()
    await ada.getByRole('button', { name: 'Write mine over it' }).click()
    await row(bob, 'Spark plugs').waitFor()
  })

  it('shows hostile text as text, and what is refused as a sentence', async () => {
    const [ada, bob] = [await visit(), await visit()]
    const name = '<img src=x onerror="document.title=1"> & <b>bold</b>'
    await add(ada, { name, place: '</li>', note: '<script>document.title = 2</script>' })
    await row(bob, '<img src=x').waitFor()
    expect(await bob.locator('.part img, .part b, .part script').count()).to.equal(0)
    expect(await row(bob, '<img').locator('.name').textContent()).to.equal(name)
    expect(await bob.title()).to.equal('parts')

    await ada.getByRole('button', { name: 'Add a part' }).click()
    await fill(ada, { name: ' ' })
    await save(ada)
    await ada.getByText('A part needs a name.').waitFor()
    await ada.keyboard.press('Escape')
    await editor(ada).waitFor({ state: 'hidden' })
  })

  it('finds and orders, and can be used by keyboard alone', async () => {
    const [m10, m2] = [
      { name: 'Nut M10', place: 'A10', amount: 30 },
      { name: 'Nut M2', place: 'A2', amount: 200 },
    ]
    await put(m10, m2, { name: 'Bolt', place: 'A2', amount: 4 })
    const page = await visit()
    const shows = (...names: string[]): Promise<unknown> =>
      page.waitForFunction(
        (wanted) => [...document.querySelectorAll('.part .name')].map((name) => name.textContent).join() === wanted,
        names.join(),
      )
    await shows('Bolt', 'Nut M2', 'Nut M10')
    await page.getByLabel('Order').selectOption('amount desc')
    await shows('Nut M2', 'Nut M10', 'Bolt')
    await page.keyboard.press('Escape')
    await page.locator('.part .name').first().focus()
    await page.keyboard.press('/')
    await page.keyboard.type('nut')
    await shows('Nut M2', 'Nut M10')
    await page.locator('#count', { hasText: '2 of 3' }).waitFor()
    await page.locator('.part .name').first().focus()
    await page.keyboard.press('Enter')
    await editor(page).waitFor()
    await page.keyboard.press('ControlOrMeta+a')
    await page.keyboard.type('Nut M3')
    await page.keyboard.press('Enter')
    await shows('Nut M3', 'Nut M10')
    await page.getByLabel('Find by name').fill('nothing')
    await page.getByText('No part has this in its name.').waitFor()
  })

  it('waits for a master that has stopped, and goes on when it is back', async () => {
    const page = await visit()
    await page.locator('#link-path', { hasText: 'direct' }).waitFor()
    await add(page, { name: 'Fan belt', amount: 2 })
    expect(await master.end()).to.equal(0)
    await page.getByText('waiting for the master').waitFor()
    // Asked for meanwhile: done when it is back.
    await page.getByRole('button', { name: 'One Fan belt more' }).click()
    await startMaster()
    await page.locator('#link[data-status="connected"]').waitFor()
    await hasAmount(page, 'Fan belt', 3)
    await page.getByRole('button', { name: 'One Fan belt more' }).click()
    await hasAmount(page, 'Fan belt', 4)
  })

  for (const width of [390, 1280]) {
    it(`fits a window of ${width} pixels`, async () => {
      await put({ name: 'W'.repeat(60), place: 'W'.repeat(20), note: 'w'.repeat(300) })
      const page = await visit({ viewport: { width, height: 800 } })
      const wide = (): Promise<number> => page.evaluate(() => document.documentElement.scrollWidth)
      expect(await wide()).to.equal(width)
      await openEditor(page, 'WWW')
      expect(await wide()).to.equal(width)
    })
  }

  it('is started by one command with its master, and ends with it in order', async () => {
    const environment = { PORT: '0', HOST: '127.0.0.1', DATA: join(data, 'both') }
    const both = new Program(['scripts/start.mjs', 'database'], { environment })
    programs.push(both)
    const [, address = ''] = await both.prints(/NAME_SERVER=(\S+)/)
    await both.prints(/has 0 parts/)
    const added = await new Program(['examples/database/parts.js', 'add', 'Jack'], {
      environment: { NAME_SERVER: address },
    }).ended()
    expect(added).to.include({ code: 0 })
    expect(await both.end()).to.equal(0)
  })

  if (process.env.SCREENSHOTS === '1') {
    it('has its pictures taken', async () => {
      await mkdir(IMAGES, { recursive: true })
      await put(
        { name: 'Brake pads', place: 'A3', amount: 4, note: 'front, ceramic' },
        { name: 'Spark plugs', place: 'A4', amount: 16, note: 'gap 0.8 mm' },
        { name: 'Fan belt', place: 'B1', amount: 2 },
        { name: 'Oil filter', place: 'B2', amount: 7, note: 'fits the vans as well' },
        { name: 'Bulb H7', place: 'C1', amount: 0, note: 'on order, Thursday' },
        { name: 'Wheel nut M14', place: 'C2', amount: 140 },
        { name: 'Wiper blade', place: 'C5', amount: 6, note: '55 cm' },
      )
      const look = async (colorScheme: 'light' | 'dark', width: number, height: number): Promise<Page> => {
        const page = await visit({ viewport: { width, height }, colorScheme, reducedMotion: 'reduce' })
        await row(page, 'Wiper').waitFor()
        await page.locator('#link-path', { hasText: 'direct · ' }).waitFor()
        return page
      }
      const list = await look('light', 1280, 560)
      await list.screenshot({ path: join(IMAGES, 'database-light-1280.png') })
      const phone = await look('dark', 390, 844)
      await openEditor(phone, 'Oil filter')
      const [filter] = await db.list({ filters: { name: 'Oil filter' } })
      await db.put({ ...filter, amount: 6 })
      await phone.getByText('Somebody has changed').waitFor()
      await phone.screenshot({ path: join(IMAGES, 'database-editor-dark-390.png') })
    })
  }
})
