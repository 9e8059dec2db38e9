/**
 * The board as a visitor has it: the real server process, real pages in a real browser. A test waits for what a page
 * shows; Playwright's own waiting is used throughout, never a time.
 *
 * With SCREENSHOTS=1 it also saves the pictures in docs/images.
 */
import { expect } from 'chai'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core'
import { launchChromium } from '../suites/pages.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const IMAGES = join(ROOT, 'docs', 'images')
/** What a slow machine may need for a start, and for one step of a page. */
const START_MILLISECONDS = 60_000
const STEP_MILLISECONDS = 20_000

/** The process of `npm start`, without the building. */
class Server {
  #process: ChildProcess
  #output = ''
  url = ''

  /** @param port 0 takes a free one */
  constructor(data: string, port = '0') {
    this.#process = spawn(process.execPath, ['examples/board/server.js'], {
      cwd: ROOT,
      env: { ...process.env, PORT: port, HOST: '127.0.0.1', DATA: data },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#process.stderr?.on('data', (bytes) => (this.#output += String(bytes)))
  }

  /** Resolves when it has printed the address to open. */
  async ready(): Promise<void> {
    if (this.#process.stdout === null) throw new Error('The output is not piped')
    for await (const line of createInterface({ input: this.#process.stdout })) {
      this.#output += `${line}\n`
      this.url = /The board is at\s+(http:\S+)/.exec(line)?.[1] ?? ''
      if (this.url === '') continue
      this.#process.stdout.resume()
      return
    }
    throw new Error(`The server ended before it was ready:\n${this.#output}`)
  }

  /** Ends it as a user does; answers its exit code and the signal that killed it, if one did. */
  async end(signal: 'SIGTERM' | 'SIGINT' = 'SIGTERM'): Promise<{ code: number | null; signal: string | null }> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const exit = once(this.#process, 'exit')
      this.#process.kill(signal)
      await exit
    }
    return { code: this.#process.exitCode, signal: this.#process.signalCode }
  }
}

interface Visitor {
  readonly page: Page
  readonly context: BrowserContext
  /** What its page complained about. */
  readonly complaints: string[]
}

describe('the board', function () {
  this.timeout(START_MILLISECONDS)

  let data: string
  let server: Server | undefined
  let browser: Browser | undefined
  const visitors: Visitor[] = []

  before(async () => {
    data = await mkdtemp(join(tmpdir(), 'board-'))
    server = new Server(data)
    await server.ready()
    browser = await launchChromium()
  })

  after(async () => {
    await browser?.close()
    await server?.end()
    await rm(data, { recursive: true, force: true })
  })

  afterEach(async () => {
    const complaints = visitors.flatMap((visitor) => visitor.complaints)
    await Promise.all(visitors.splice(0).map(({ context }) => context.close()))
    expect(complaints, 'errors in the pages').to.deep.equal([])
  })

  /** Opens the page and waits until the board can be used. */
  async function visit(name: string, look: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
    if (browser === undefined || server === undefined) throw new Error('Nothing is started')
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...look })
    const page = await context.newPage()
    page.setDefaultTimeout(STEP_MILLISECONDS)
    const complaints: string[] = []
    visitors.push({ page, context, complaints })
    page.on('pageerror', (error) => complaints.push(`${name}: ${error.message}`))
    page.on('console', (message) => message.type() === 'error' && complaints.push(`${name}: ${message.text()}`))
    await page.goto(server.url)
    await page.locator('#add:enabled').waitFor()
    await page.locator('#name').fill(name)
    await page.locator('#name').press('Enter')
    return page
  }

  const note = (page: Page, text: string): Locator => page.locator('.note', { hasText: text })
  // The first: somebody of the same name may just be leaving.
  const person = (page: Page, name: string): Locator => page.locator('#people li', { hasText: name }).first()

  /** Writes a new note where the sheet is double-clicked, in coordinates of the window. */
  async function write(page: Page, x: number, y: number, text: string): Promise<void> {
    await page.mouse.dblclick(x, y)
    await page.locator('.note textarea').fill(text)
    await page.keyboard.press('Escape')
    await note(page, text).waitFor()
  }

  /** Where a note will come to rest (a glide is on its way there), in the sheet's coordinates. */
  const restsAt = (page: Page, text: string): Promise<string> =>
    note(page, text).evaluate((element) => (element as HTMLElement).style.transform)

  async function hasCount(page: Page, count: number): Promise<void> {
    await page.locator('#count', { hasText: new RegExp(`^${count}$`) }).waitFor()
  }

  /** Waits until both pages have the note in the same place, which is another than before. */
  async function movedAlike(one: Page, other: Page, text: string, before: string): Promise<void> {
    const after = await restsAt(one, text)
    expect(after).not.to.equal(before)
    await other.waitForFunction(
      ([words, place]) =>
        [...document.querySelectorAll<HTMLElement>('.note')].some(
          (element) => element.textContent.includes(words) && element.style.transform === place,
        ),
      [text, after] as const,
    )
  }

  async function removeAll(page: Page): Promise<void> {
    const notes = page.locator('.note')
    for (let left = await notes.count(); left > 0; left--) {
      await notes.first().focus()
      await page.keyboard.press('Delete')
      await page.waitForFunction((n) => document.querySelectorAll('.note').length < n, left)
    }
  }

  it('says what to do when it is empty', async () => {
    const page = await visit('Ada')
    await page.getByText('Nothing on the board yet').waitFor()
    await page.getByRole('link', { name: 'open this page in a second window' }).waitFor()
    await page.getByRole('button', { name: 'New note' }).click()
    await page.locator('#empty').waitFor({ state: 'hidden' })
    await page.keyboard.press('Escape')
    await removeAll(page)
    await page.getByText('Nothing on the board yet').waitFor()
  })

  it('shows each page the notes, moves and colours of the other', async () => {
    const [ada, bob] = [await visit('Ada'), await visit('Bob')]
    await write(ada, 200, 200, 'from Ada')
    await note(bob, 'from Ada').waitFor()
    await write(bob, 700, 200, 'from Bob')
    await note(ada, 'from Bob').waitFor()

    const before = await restsAt(bob, 'from Ada')
    await note(ada, 'from Ada').hover()
    await ada.mouse.down()
    await ada.mouse.move(420, 420, { steps: 6 })
    // On its way the other sees who has it.
    await bob.locator('.note.held[data-holder="Ada"]').waitFor()
    await ada.mouse.up()
    await bob.locator('.note.held').waitFor({ state: 'detached' })
    await movedAlike(ada, bob, 'from Ada', before)

    await note(bob, 'from Bob').click()
    await bob.getByRole('button', { name: 'moss' }).click()
    await ada.locator('.note[data-colour="moss"]', { hasText: 'from Bob' }).waitFor()
    await removeAll(ada)
    await bob.locator('.note').first().waitFor({ state: 'detached' })
  })

  it('settles two hands on one note', async () => {
    const [ada, bob] = [await visit('Ada'), await visit('Bob')]
    await write(ada, 300, 300, 'both want it')
    await note(bob, 'both want it').waitFor()
    const before = await restsAt(ada, 'both want it')
    for (const page of [ada, bob]) {
      await note(page, 'both want it').hover()
      await page.mouse.down()
    }
    await ada.mouse.move(500, 300, { steps: 4 })
    await bob.mouse.move(300, 560, { steps: 4 })
    await ada.mouse.up()
    await ada.mouse.move(900, 120)
    await bob.mouse.up()
    await movedAlike(bob, ada, 'both want it', before)
    await removeAll(ada)
  })

  it('counts every click', async () => {
    const [ada, bob] = [await visit('Ada'), await visit('Bob')]
    const start = Number(await ada.locator('#count').textContent())
    const clicks = async (page: Page, name: string, times: number): Promise<void> => {
      for (let i = 0; i < times; i++) await page.getByRole('button', { name }).click()
    }
    await Promise.all([clicks(ada, 'One more', 20), clicks(bob, 'One more', 20)])
    await clicks(bob, 'One less', 5)
    for (const page of [ada, bob]) await hasCount(page, start + 35)
  })

  it('knows who is here, where they point, and when they have left', async () => {
    const [ada, bob] = [await visit('Ada'), await visit('Bob')]
    await person(ada, 'Bob').waitFor()
    await person(bob, 'Ada').waitFor()
    await bob.mouse.move(500, 400)
    await ada.locator('.cursor', { hasText: 'Bob' }).waitFor()

    await bob.locator('#name').fill('Robert')
    await bob.locator('#name').press('Enter')
    await person(ada, 'Robert').waitFor()

    await bob.context().close()
    await person(ada, 'Robert').waitFor({ state: 'detached' })
    await ada.locator('.cursor').waitFor({ state: 'detached' })
  })

  it('can be used by keyboard alone, and takes a removal back', async () => {
    const [ada, bob] = [await visit('Ada'), await visit('Bob')]
    await ada.keyboard.press('n')
    await ada.keyboard.type('by keyboard')
    await ada.keyboard.press('Escape')
    await note(bob, 'by keyboard').waitFor()
    const before = await restsAt(bob, 'by keyboard')
    await ada.keyboard.press('ArrowRight')
    await ada.keyboard.press('ArrowDown')
    await bob.waitForFunction(
      (place) => document.querySelector<HTMLElement>('.note')?.style.transform !== place,
      before,
    )
    await ada.keyboard.press('Enter')
    await ada.keyboard.type(' too')
    await note(bob, 'by keyboard too').waitFor()
    await ada.keyboard.press('Escape')

    await ada.keyboard.press('Delete')
    await note(bob, 'by keyboard too').waitFor({ state: 'detached' })
    await ada.getByRole('button', { name: 'Put back' }).focus()
    await ada.keyboard.press('Enter')
    await note(bob, 'by keyboard too').waitFor()
    await removeAll(ada)
  })

  it('lets two write in one note, and shows hostile text as text', async () => {
    const [ada, bob] = [await visit('Ada'), await visit('Bob')]
    await write(ada, 300, 300, '<img src=x onerror="document.title=1">')
    await note(bob, '<img src=x').dblclick()
    await bob.locator('.note textarea').fill('<b>theirs</b>')
    await note(ada, '<b>theirs</b>').waitFor()
    expect(await ada.locator('.note img, .note b').count()).to.equal(0)
    expect(await ada.title()).to.equal('board')
    await bob.locator('.note textarea').fill('x'.repeat(2000))
    await bob.keyboard.press('Escape')
    await note(ada, 'x'.repeat(500)).waitFor()
    expect(await note(ada, 'x').locator('p').textContent()).to.have.lengthOf(500)
    await removeAll(ada)
  })

  it('shows a third page all of it, and says how it is connected', async () => {
    const [ada, bob] = [await visit('Ada'), await visit('Bob')]
    await write(ada, 200, 200, 'one')
    await write(bob, 700, 300, 'two')
    // The page draws once a frame: what was clicked is not on it at once.
    const count = Number(await ada.locator('#count').textContent()) + 1
    await ada.getByRole('button', { name: 'One more' }).click()
    await hasCount(ada, count)
    const cleo = await visit('Cleo', { viewport: { width: 390, height: 844 } })
    for (const text of ['one', 'two']) await note(cleo, text).waitFor()
    await hasCount(cleo, count)
    for (const page of [ada, bob]) await person(page, 'Cleo').waitFor()
    await cleo.locator('#link[data-status="connected"]').waitFor()
    await cleo.locator('#link-path', { hasText: 'direct' }).waitFor()
    await removeAll(ada)
  })

  it('ends in order, and starts again under the same name', async () => {
    const ada = await visit('Ada')
    const count = await ada.locator('#count').textContent()
    expect(Number(count)).to.be.greaterThan(0)
    await ada.close()
    const port = new URL(server!.url).port
    expect(await server!.end('SIGINT')).to.deep.equal({ code: 0, signal: null })
    // At the same address: a master's key is for one name server, which it knows by its address.
    server = new Server(data, port)
    await server.ready()
    const bob = await visit('Bob')
    await bob.locator('#link[data-status="connected"]').waitFor()
    // What was on it is still there; who was here when it ended is not.
    expect(await bob.locator('#count').textContent()).to.equal(count)
    expect(await bob.locator('#people li').count()).to.equal(0)
  })

  if (process.env.SCREENSHOTS === '1') {
    it('has its pictures taken', async () => {
      await mkdir(IMAGES, { recursive: true })
      const sizes = [
        { width: 1280, height: 800 },
        { width: 390, height: 844 },
      ]
      const [ada, bob] = [await visit('Ada'), await visit('Bob')]
      const notes = [
        { x: 48, y: 128, text: 'Saturday:\n– market at nine\n– swim\n– pancakes', colour: 'straw' },
        { x: 120, y: 352, text: 'Ada brings the projector, Bob the cables.', colour: 'sky' },
        { x: 416, y: 112, text: 'Where do the bikes go over winter? The shed leaks.', colour: 'coral' },
        { x: 752, y: 176, text: 'Ask the neighbours about the cellar', colour: 'moss' },
        { x: 464, y: 400, text: 'Coffee, oats,\nthe good bread', colour: 'card' },
        { x: 944, y: 432, text: 'Seeds: beans, chard, marigold', colour: 'lilac' },
      ]
      for (const { x, y, text, colour } of notes) {
        await write(ada, x, y, text)
        await ada.getByRole('button', { name: colour, exact: true }).click()
      }
      for (let i = 0; i < 12; i++) await ada.getByRole('button', { name: 'One more' }).click()
      for (const colorScheme of ['light', 'dark'] as const) {
        for (const viewport of sizes) {
          const cleo = await visit('Cleo', { viewport, colorScheme, reducedMotion: 'reduce' })
          await cleo
            .locator('.note')
            .nth(notes.length - 1)
            .waitFor()
          await person(cleo, 'Bob').waitFor()
          await note(cleo, 'projector').click()
          await bob.mouse.move(300, 300)
          await bob.mouse.move(344, 318)
          await cleo.locator('.cursor', { hasText: 'Bob' }).waitFor()
          await cleo.locator('#link-path', { hasText: 'ms' }).waitFor()
          await cleo.screenshot({ path: join(IMAGES, `board-${colorScheme}-${viewport.width}.png`) })
          await cleo.context().close()
        }
      }
      await removeAll(ada)
    })
  }
})
