/**
 * createNameServer: storage, HTTP and Socket.IO, wired. No rules of its own.
 *
 * Promises: alone it listens and ends its server; beside an application it answers its own paths only, takes part in
 * `upgrade` without touching other listeners, and leaves the server open. After `close` nothing of it is left.
 */
import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http'
import { Server as TlsServer } from 'node:tls'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import express, { Router, type Request, type Response } from 'express'
import helmet from 'helmet'
import { lifetime, systemClock, type Clock } from '../src/clock.js'
import { NamedMasterError } from '../src/errors.js'
import { consoleLog, type Log } from '../src/log.js'
import { SOCKET_PATH } from '../src/protocol/naming.js'
import { createDoor, type Door } from './door.js'
import { CREDENTIAL_SECONDS, loadIceServers, type TurnConfig } from './ice.js'
import { DEFAULT_LIMITS, PING_INTERVAL_MS, PING_TIMEOUT_MS, type Limits } from './limits.js'
import { createNaming } from './naming.js'
import { openStorage } from '#storage'

export const DEFAULT_PORT = 8002
/** This machine only: who wants to be reached from elsewhere says so. */
export const DEFAULT_HOST = '127.0.0.1'
export const DEFAULT_DATA = './data'

export interface NameServerOptions {
  /** 0 to 65535, 0 for a free one. Not with `server`. */
  readonly port?: number
  /** Not with `server`. */
  readonly host?: string
  /** The folder of the database; false keeps all in memory. */
  readonly data?: string | false
  /** A file like turn.config.json, its content, or false; by default ./turn.config.json when it is there. */
  readonly turn?: string | TurnConfig | false
  /** An existing server: mount `handler` at the root of its application. It is neither started nor closed here. */
  readonly server?: HttpServer
  /**
   * The pages that may come in, as origins (`https://example.org`); `'*'`, the default, for all: a name server is used
   * from pages of many origins, and a page can do nothing here that any program cannot.
   */
  readonly origins?: '*' | readonly string[]
  /** True behind a reverse proxy that sets X-Forwarded-For: else all its clients count as one address. */
  readonly trustProxy?: boolean
  readonly limits?: Partial<Limits>
  /** Milliseconds between pings, and to answer one: a dead socket is found within their sum. */
  readonly pingInterval?: number
  readonly pingTimeout?: number
  readonly log?: Log
  readonly clock?: Clock
}

export type Handler = (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void) => void

export interface NameServer {
  /** As clients on this machine reach it. @throws TypeError while the given server is not listening */
  readonly url: string
  /** HTTP: /healthz, /named-master.js, and Socket.IO's polling. Everything else goes to `next`. */
  readonly handler: Handler
  /** Idempotent. Clients notice, and reconnect to whoever serves here next. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Opens the database and serves.
 * @throws storage-locked, storage-failed, invalid-config, port-in-use; TypeError for options that make no sense
 */
export async function createNameServer(options: NameServerOptions = {}): Promise<NameServer> {
  const { log = consoleLog, data = DEFAULT_DATA } = options
  const clock = lifetime(options.clock ?? systemClock)
  if (options.server !== undefined && (options.port !== undefined || options.host !== undefined)) {
    throw new TypeError('Give either a server or a port and host: an existing server has its own')
  }
  const limits = checkLimits({ ...DEFAULT_LIMITS, ...options.limits })
  const ice = await loadIceServers(options.turn)
  const storage = await openStorage(data, 'name-server')
  if (data === false)
    log('warn', 'Names are kept in memory: they are gone when the name server ends, and their masters bring them back')

  // Socket.IO takes over all listeners of the server it is attached to: so it gets one of its own, which never listens.
  const inner = createServer()
  const door = createDoor(inner, {
    origins: options.origins ?? '*',
    trustProxy: options.trustProxy ?? false,
    limits,
    pingInterval: options.pingInterval ?? PING_INTERVAL_MS,
    pingTimeout: options.pingTimeout ?? PING_TIMEOUT_MS,
    iceServers: () => ice.at(Date.now()),
    clock,
    log,
  })
  const naming = createNaming(storage.table('names'), door.post, limits, clock, log)
  door.open(naming.commands, naming.gone)

  let closing: Promise<void> | undefined
  const router = createRouter(inner, door, () => closing === undefined && storage.open)
  const server = options.server ?? createServer(express().disable('x-powered-by').use(router).get('/', frontPage))
  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (isOurs(request)) inner.emit('upgrade', request, socket, head)
    // Without us Node would have ended it; with others it is for them to decide.
    else if (server.listenerCount('upgrade') === 1) socket.destroy()
  }
  server.on('upgrade', upgrade)

  const renewLater = () => clock.setTimeout(renew, (CREDENTIAL_SECONDS / 2) * 1000)
  const renew = () => {
    door.welcomeAgain()
    renewLater()
  }
  if (ice.expiring) renewLater()

  const close = () =>
    (closing ??= (async () => {
      clock.end()
      naming.close()
      await door.close()
      if (options.server === undefined) await endServer(server)
      server.off('upgrade', upgrade)
      await storage.close()
    })())
  try {
    if (options.server === undefined) await listen(server, options.port ?? DEFAULT_PORT, options.host ?? DEFAULT_HOST)
  } catch (error) {
    await close()
    throw error
  }
  // Of its own server it is still good to know after the end.
  const ownUrl = options.server === undefined ? urlOf(server) : undefined
  if (ownUrl !== undefined) server.on('error', (error) => log('error', 'The HTTP server reports an error', { error }))
  return {
    get url() {
      return ownUrl ?? urlOf(server)
    },
    handler: (request, response, next) =>
      router(request as Request, response as Response, next ?? finalHandler(response)),
    close,
    [Symbol.asyncDispose]: close,
  }
}

const isOurs = (request: IncomingMessage): boolean => {
  const path = (request.url ?? '').split('?')[0]
  return path === SOCKET_PATH || path === `${SOCKET_PATH}/`
}

/** Plain middleware, so that it fits any application: nothing of Express's request and response is used. */
function createRouter(inner: HttpServer, door: Door, serving: () => boolean): Router {
  const router = Router()
  // The script is for pages of any origin; the rest of helmet's rules stand.
  const headers = helmet({ crossOriginResourcePolicy: { policy: 'cross-origin' } })
  router.use((request, response, next) => {
    if (!isOurs(request)) next()
    else if (serving()) headers(request, response, () => void inner.emit('request', request, response))
    else say(response, 503, 'text/plain', 'The name server is closed\n')
  })
  router.get('/healthz', headers, (_request, response) => {
    const health = { status: serving() ? 'ok' : 'closed', sockets: door.sockets }
    say(response, serving() ? 200 : 503, 'application/json', JSON.stringify(health))
  })
  const everywhere = (response: ServerResponse) => void response.setHeader('access-control-allow-origin', '*')
  const script = express.static(BROWSER_FOLDER, { index: false, setHeaders: everywhere })
  router.get('/named-master.js', headers, script, (_request, response) => {
    say(response, 404, 'text/plain', 'named-master.js has not been built: run "npm run build"\n')
  })
  return router
}

/** Somebody opened its address in a browser. */
const frontPage = (_request: Request, response: Response) => {
  say(response, 200, 'text/plain', 'This is a named-master name server: give its address to a Master or a Slave.\n')
}

/** For who mounts the handler without an application around it. */
const finalHandler = (response: ServerResponse) => () => say(response, 404, 'text/plain', 'Not found\n')

function say(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store' }).end(body)
}

/** From dist/nameserver/. */
const BROWSER_FOLDER = fileURLToPath(new URL('../browser/', import.meta.url))

function checkLimits(limits: Limits): Limits {
  for (const [name, value] of Object.entries(limits)) {
    if (!(name in DEFAULT_LIMITS))
      throw new TypeError(`limits.${name} is no limit: ${Object.keys(DEFAULT_LIMITS).join(', ')}`)
    if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`limits.${name} is an integer from 1`)
  }
  return limits
}

function listen(server: HttpServer, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => reject(listenFault(error, port, host))
    server.once('error', failed)
    server.listen(port, host, () => {
      server.off('error', failed)
      resolve()
    })
  })
}

function listenFault(cause: NodeJS.ErrnoException, port: number, host: string): NamedMasterError {
  if (cause.code === 'EADDRINUSE') {
    return new NamedMasterError(
      'port-in-use',
      `Port ${port} of ${host} is in use: stop what listens there, or choose another with --port`,
      { cause },
    )
  }
  return new NamedMasterError('invalid-config', `Cannot listen on port ${port} of ${host}: ${cause.message}`, { cause })
}

async function endServer(server: HttpServer): Promise<void> {
  if (!server.listening) return
  const ended = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeAllConnections()
  await ended
}

function urlOf(server: HttpServer): string {
  const address = server.address()
  if (address === null || typeof address === 'string')
    throw new TypeError('The server is not listening on a port (yet)')
  const scheme = server instanceof TlsServer ? 'https' : 'http'
  const any = address.address === '::' || address.address === '0.0.0.0'
  const host = any ? 'localhost' : address.family === 'IPv6' ? `[${address.address}]` : address.address
  return `${scheme}://${host}:${address.port}`
}
