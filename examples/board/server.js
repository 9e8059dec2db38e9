// @ts-check
/**
 * What `npm start` shows: a name server, the master of a board of notes, and the page that opens it, in one process.
 *
 * They need not live together: the master and the page only have to agree on a name server and a name. From the
 * environment: PORT (8002; 0 takes a free one), HOST (127.0.0.1; 0.0.0.0 for your network), DATA (./data).
 */
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import express from 'express'
import helmet from 'helmet'
import { Master, createStore } from 'named-master'
import { createNameServer } from 'named-master/nameserver'
import { emptyBoard, handleBoard } from './store.js'

const NAME = 'board'
/** What a page, a link or the disk may still need after a signal; then the process ends anyway. */
const STOP_MILLISECONDS = 5000

const port = Number(process.env.PORT ?? 8002)
const host = process.env.HOST ?? '127.0.0.1'
const data = process.env.DATA ?? './data'
const TURN_FILE = 'turn.config.json'

if (!Number.isInteger(port) || port < 0 || port > 65535) end(1, `PORT is "${process.env.PORT}": set it to 0 to 65535.`)

/** @param {number} code @param {string} [sentence] @returns {never} */
function end(code, sentence) {
  if (sentence !== undefined) console.error(sentence)
  // Explicit, because a native WebRTC library may crash when it is left to a natural end.
  process.exit(code)
}

const messageOf = (/** @type {unknown} */ error) => (error instanceof Error ? error.message : String(error))

const app = express()
app.disable('x-powered-by')
app.use(
  helmet({
    contentSecurityPolicy: {
      // No https on a LAN: nothing is upgraded to it, and no inline style is let in.
      directives: { upgradeInsecureRequests: null, styleSrc: ["'self'"], fontSrc: ["'self'"] },
    },
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
    strictTransportSecurity: false,
  }),
)
app.use(express.static(fileURLToPath(new URL('page', import.meta.url))))
app.get('/store.js', (_request, response) => response.sendFile(fileURLToPath(new URL('store.js', import.meta.url))))

const http = createServer(app)
await new Promise((resolve) => {
  http.once('error', (/** @type {NodeJS.ErrnoException} */ error) =>
    end(1, error.code === 'EADDRINUSE' ? `Port ${port} is in use: PORT=${port + 1} npm start` : error.message),
  )
  http.listen(port, host, () => resolve(undefined))
})

const address = /** @type {import('node:net').AddressInfo} */ (http.address())
const everywhere = host === '0.0.0.0' || host === '::'
const inUrl = (/** @type {string} */ name) => (name.includes(':') ? `[${name}]` : name)
const shown = everywhere || host === '127.0.0.1' ? 'localhost' : inUrl(host)
const url = `http://${everywhere ? '127.0.0.1' : inUrl(host)}:${address.port}`

// A master's key is for one name server, which it knows by its address: so each address has a folder of its own, and
// another PORT begins another board.
const folder = join(data, new URL(url).host.replaceAll(/[^\w.]/g, '-'))
const nameServer = await createNameServer({
  server: http,
  data: join(folder, 'name-server'),
  ...(existsSync(TURN_FILE) ? { turn: TURN_FILE } : {}),
}).catch((error) => end(1, `The name server could not be started: ${messageOf(error)}`))
app.use(nameServer.handler)

const store = createStore(emptyBoard())
handleBoard(store)
const master = new Master(url, { store, data: join(folder, 'board-master') })

let stopping = false
/** Strikes off who the board says is here, and no longer is. @param {number[]} clients */
function sayLeft(clients) {
  if (clients.length > 0 && !stopping) store.emit('people.left', clients)
}
master.events.on('slave-left', ({ client }) => sayLeft([client]))
master.events.on('evicted', () => stop(1, `Another process has taken the name "${NAME}" with our key: stopping.`))

/** @param {number} code @param {string} [sentence] */
async function stop(code, sentence) {
  if (stopping) return
  stopping = true
  setTimeout(() => end(1, 'Stopping took too long.'), STOP_MILLISECONDS)
  try {
    await master.close()
    await nameServer.close()
  } catch (error) {
    end(1, `It could not be stopped in order: ${messageOf(error)}`)
  }
  await new Promise((resolve) => {
    http.close(resolve)
    http.closeAllConnections()
  })
  end(code, sentence)
}
process.once('SIGINT', () => void stop(0))
process.once('SIGTERM', () => void stop(0))

try {
  await master.open()
  // Whoever was here when the last master was killed. They say hello again when they are back.
  sayLeft(Object.keys(store.getState().people).map(Number))
  const answer = await master.startServer(NAME)
  if (answer === 'exists') {
    await stop(
      1,
      `The name server's data (${join(folder, 'name-server')}) knows a master "${NAME}", and its key is not in ` +
        `${join(folder, 'board-master')}.\nPut that folder back, or remove ${folder} to begin with an empty board.`,
    )
  }
  if (!stopping) console.log(welcome())
} catch (error) {
  await stop(1, `The board could not be started: ${messageOf(error)}`)
}

function welcome() {
  const interfaces = everywhere ? Object.values(networkInterfaces()).flat() : []
  const others = interfaces.filter((one) => one?.family === 'IPv4' && !one.internal)
  return [
    '',
    `  The board is at  http://${shown}:${address.port}`,
    '  Open it in two windows: what you do in one, the other shows.',
    ...others.map((one) => `  In your network  http://${one?.address}:${address.port}`),
    ...(everywhere ? [] : ['  For other devices in your network:  HOST=0.0.0.0 npm start']),
    `  Ctrl+C ends it. The notes stay, in ${folder}.`,
    '',
  ].join('\n')
}
