// @ts-check
/**
 * What `npm start -- database` shows: a name server with the page beside it, and the master as a process of its own.
 *
 * With --without-master it leaves the master to you: `NAME_SERVER=http://... node master.js`, here or on another machine.
 * From the environment: PORT (8002; 0 takes a free one), HOST (127.0.0.1; 0.0.0.0 for your network), DATA (./data).
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import express from 'express'
import helmet from 'helmet'
import { createNameServer } from 'named-master/nameserver'

/** What the master, a page or the disk may still need after a signal; then the process ends anyway. */
const STOP_MILLISECONDS = 5000
const TURN_FILE = 'turn.config.json'

const port = Number(process.env.PORT ?? 8002)
const host = process.env.HOST ?? '127.0.0.1'
const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url))

if (!Number.isInteger(port) || port < 0 || port > 65535) end(1, `PORT is "${process.env.PORT}": set it to 0 to 65535.`)

/** @param {number} code @param {string} [sentence] @returns {never} */
function end(code, sentence) {
  if (sentence !== undefined) console.error(sentence)
  process.exit(code)
}

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
app.use(express.static(here('page')))

const http = createServer(app)
http.once('error', (/** @type {NodeJS.ErrnoException} */ error) =>
  end(1, error.code === 'EADDRINUSE' ? `Port ${port} is in use: set PORT to another one.` : error.message),
)
http.listen(port, host)
await once(http, 'listening')

const address = /** @type {import('node:net').AddressInfo} */ (http.address())
const everywhere = host === '0.0.0.0' || host === '::'
const inUrl = host.includes(':') ? `[${host}]` : host
const url = `http://${everywhere ? '127.0.0.1' : inUrl}:${address.port}`
const shown = everywhere || host === '127.0.0.1' ? `http://localhost:${address.port}` : url

// A master's key is for one name server, which it knows by its address: so each address has a folder of its own.
const folder = join(process.env.DATA ?? './data', new URL(url).host.replaceAll(/[^\w.]/g, '-'))
const nameServer = await createNameServer({
  server: http,
  data: join(folder, 'name-server'),
  ...(existsSync(TURN_FILE) ? { turn: TURN_FILE } : {}),
}).catch((error) => end(1, `The name server could not be started: ${error.message}`))
app.use(nameServer.handler)

let stopping = false
const master = process.argv.includes('--without-master')
  ? undefined
  : spawn(process.execPath, [here('master.js')], {
      env: { ...process.env, NAME_SERVER: url, DATA: join(folder, 'parts') },
      stdio: 'inherit',
    })
master?.once('exit', (code) => void stop(code ?? 1, stopping ? undefined : 'The master has ended: stopping.'))

/** @param {number} code @param {string} [sentence] */
async function stop(code, sentence) {
  if (stopping) return
  stopping = true
  setTimeout(() => end(1, 'Stopping took too long.'), STOP_MILLISECONDS)
  if (master !== undefined && master.exitCode === null && master.signalCode === null) {
    master.kill('SIGTERM')
    await once(master, 'exit')
  }
  await nameServer.close()
  http.close()
  http.closeAllConnections()
  end(code, sentence)
}
process.once('SIGINT', () => void stop(0))
process.once('SIGTERM', () => void stop(0))

console.log(
  [
    '',
    `  The parts are at  ${shown}`,
    '  Open it in two windows, and beside them, in a terminal of this folder:',
    `    NAME_SERVER=${url} node examples/database/parts.js add "Brake pads" --place A3 --amount 4`,
    `  Ctrl+C ends it. The documents stay in ${folder}.`,
    '',
  ].join('\n'),
)
