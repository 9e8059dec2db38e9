/**
 * The samples of README.md as a newcomer has them: a folder with the package installed, the commands in it as real
 * processes, the pages in a real browser. Only the address of the name server is another: port 8002 may be taken.
 */
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { build } from 'esbuild'
import { NamedMasterError } from 'named-master'
import { Slave } from 'named-master/slave'
import { NameClient } from '#src/signal/name-client.js'
import type { Browser } from 'playwright-core'
import { launchChromium } from '../suites/pages.js'
import { Program } from '../suites/programs.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SAMPLES = join(ROOT, 'examples/readme')
const URL_IN_SAMPLES = 'http://localhost:8002'

describe('the samples of the README', function () {
  this.timeout(60_000)

  let folder: string
  let nameServer: Program
  let url: string

  /** A sample, put into the folder with the address of this name server. */
  async function place(file: string, from = URL_IN_SAMPLES, to = url): Promise<void> {
    const text = await readFile(join(SAMPLES, file), 'utf8')
    expect(text).to.include(from)
    await writeFile(join(folder, file), text.replaceAll(from, to))
  }

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'readme-'))
    await mkdir(join(folder, 'node_modules'))
    await symlink(ROOT, join(folder, 'node_modules/named-master'))
    await symlink(join(ROOT, 'node_modules/express'), join(folder, 'node_modules/express'))
    await cp(join(SAMPLES, 'turn.config.json'), join(folder, 'turn.config.json'))
    // The service's own command line, with a folder and a port of ours after it: the last of two flags counts.
    const unit = await readFile(join(SAMPLES, 'named-master.service'), 'utf8')
    const [, script = '', args = ''] = /^ExecStart=(\S+) (.+)$/m.exec(unit) ?? []
    expect(script).to.match(/\/node_modules\/\.bin\/named-master$/)
    const ours = ['--port', '0', '--data', join(folder, 'names')]
    nameServer = new Program([join(ROOT, 'dist/src/cli/main.js'), ...args.split(' '), ...ours], { folder })
    url = (await nameServer.prints(/serving at (http:\S+)/))[1] ?? ''
  })

  after(async () => {
    expect(await nameServer.end()).to.equal(0)
    await rm(folder, { recursive: true, force: true })
  })

  it('hand out credentials that end, for the secret in turn.config.json', async () => {
    const names = new NameClient(url)
    await names.connect()
    const [stun, turn] = names.iceServers
    names.close()
    expect(stun).to.deep.equal({ urls: ['stun:turn.example.org:3478'] })
    expect(turn?.username).to.match(/^\d{10}:/)
    const { secret } = (JSON.parse(await readFile(join(SAMPLES, 'turn.config.json'), 'utf8')) as {
      iceServers: { secret?: string }[]
    }).iceServers[1]! // prettier-ignore
    expect(await readFile(join(SAMPLES, 'turnserver.conf'), 'utf8')).to.include(`static-auth-secret=${secret}\n`)
    expect(JSON.stringify(names.iceServers)).to.not.include(secret)
  })

  describe('with a master', () => {
    let garage: Program
    let browser: Browser | undefined

    before(async () => {
      await place('garage.mjs')
      garage = new Program(['garage.mjs'], { folder })
      await garage.prints(/^registered$/)
      browser = await launchChromium()
    })

    after(async () => {
      await browser?.close()
      expect(await garage.end()).to.equal(0)
    })

    it('visitor.mjs changes the store, calls a method, and ends', async () => {
      await place('visitor.mjs')
      const visitor = new Program(['visitor.mjs'], { folder })
      await visitor.prints(/^{ title: 'My garage', count: 2 }$/)
      await visitor.prints(/^3$/)
      expect((await visitor.ended()).code).to.equal(0)
      await garage.prints(/^{ title: 'My garage', count: 2 }$/)
    })

    it('page.html, opened from the disk, counts in two windows', async () => {
      await place('page.html')
      const open = async () => {
        const page = await browser!.newPage()
        await page.goto(pathToFileURL(join(folder, 'page.html')).href)
        await page.locator('button:enabled').waitFor()
        return page
      }
      const one = await open()
      const other = await open()
      const count = Number(await one.locator('output').textContent())
      await one.locator('button').click()
      await other.locator(`output:text-is("${count + 1}")`).waitFor()
      await other.locator('button').click()
      await one.locator(`output:text-is("${count + 2}")`).waitFor()
    })

    it('app.js shows the store when it was bundled', async () => {
      await place('app.js')
      await build({
        absWorkingDir: folder,
        entryPoints: ['app.js'],
        bundle: true,
        format: 'esm',
        outfile: 'app.bundle.js',
        logLevel: 'error',
      })
      const page = await browser!.newPage()
      await page.setContent('<title>-</title>')
      await page.addScriptTag({ path: join(folder, 'app.bundle.js'), type: 'module' })
      await page.waitForFunction('document.title.startsWith("My garage: ")')
    })

    it('and the next start answers started', async () => {
      expect(await garage.end()).to.equal(0)
      garage = new Program(['garage.mjs'], { folder })
      await garage.prints(/^started$/)
    })
  })

  it('till.test.mjs passes', async () => {
    await cp(join(SAMPLES, 'till.test.mjs'), join(folder, 'till.test.mjs'))
    const tests = new Program(['--test', 'till.test.mjs'], { folder })
    expect((await tests.ended()).code).to.equal(0)
  })

  it('beside.mjs serves names and an application on one port', async () => {
    await place('beside.mjs', '8002', '0')
    const beside = new Program(['beside.mjs'], { folder })
    const [address] = await beside.prints(/http:\S+/)
    expect(await (await fetch(address)).text()).to.equal('An application of yours')
    const health = (await (await fetch(`${address}/healthz`)).json()) as { status: string }
    expect(health.status).to.equal('ok')
    const slave = new Slave(address, { log: () => undefined })
    expect(await slave.connect('nobody')).to.equal(false)
    expect(slave.lastError).to.be.instanceOf(NamedMasterError).and.include({ code: 'no-such-master' })
    expect(await beside.end()).to.equal('SIGTERM')
  })
})
