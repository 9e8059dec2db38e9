/**
 * Real pages in a real Chromium, from an express application that a real name server stands beside.
 */
import express from 'express'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core'
import { createNameServer, type NameServer } from 'named-master/nameserver'
import type { Log } from '#src/log.js'

/** What a slow machine may need for one step of a page, in milliseconds. */
const STEP_MS = 20_000

/** A page from here is no secure context, as one of a machine on a LAN; loopback addresses would be. */
export const INSECURE_HOST = 'garage.test'

export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'

/** @param executablePath Chromium's own, or a program that becomes it */
export const launchChromium = (executablePath = CHROMIUM): Promise<Browser> =>
  chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--host-resolver-rules=MAP ${INSECURE_HOST} 127.0.0.1`,
    ],
  })

/** A site with a name server beside it. What asks for `/hold` waits until `release`. */
export class Site {
  readonly nameServer: NameServer
  readonly #http: Server
  #holding: () => void = () => undefined
  #release: () => void = () => undefined
  readonly #released = new Promise<void>((resolve) => (this.#release = resolve))

  private constructor(nameServer: NameServer, http: Server) {
    this.nameServer = nameServer
    this.#http = http
  }

  /** @param pages bodies by path @param policies their Content-Security-Policy, where there is one */
  static async open(
    pages: Readonly<Record<string, string>>,
    policies: Readonly<Record<string, string>>,
    log: Log,
  ): Promise<Site> {
    const app = express()
    const http = createServer(app)
    http.listen(0, '127.0.0.1')
    await once(http, 'listening')
    const nameServer = await createNameServer({ server: http, data: false, turn: false, log })
    app.use(nameServer.handler)
    for (const [path, body] of Object.entries(pages)) {
      app.get(path, (_request, response) => {
        const policy = policies[path]
        if (policy !== undefined) response.setHeader('content-security-policy', policy)
        response.type(path.endsWith('.js') ? 'js' : 'html').send(body)
      })
    }
    const site = new Site(nameServer, http)
    app.get('/hold', async (_request, response) => {
      site.#holding()
      await site.#released
      response.end()
    })
    return site
  }

  /** Resolves when the next page has asked for `/hold`. */
  holds(): Promise<void> {
    return new Promise((resolve) => (this.#holding = resolve))
  }

  release(): void {
    this.#release()
  }

  /** The site as a page at that address has it. */
  at(host: string): string {
    return `http://${host}:${(this.#http.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    await this.nameServer.close()
    this.#http.closeAllConnections()
    await new Promise((resolve) => this.#http.close(resolve))
  }
}

export interface Visit {
  readonly page: Page
  /** What the page complained about. */
  readonly complaints: string[]
}

export async function visit(context: BrowserContext, url: string): Promise<Visit> {
  const page = await context.newPage()
  page.setDefaultTimeout(STEP_MS)
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
  await page.goto(url)
  return { page, complaints }
}
