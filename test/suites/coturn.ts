/**
 * A real TURN server (coturn, which answers STUN too), for one test: on loopback or inside a network namespace.
 *
 * Promises: `start` resolves when it listens and rejects with what it printed when it ends before; `stop` ends the
 * process that was started, and no other. It writes in a folder of its own, which is gone afterwards.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type TurnTransport = 'udp' | 'tcp'

/** What turn.config.json says of those who may use it. */
export type TurnCredentials =
  { readonly username: string; readonly credential: string } | { readonly secret: string; readonly username?: string }

export interface CoturnOptions {
  /** A name and a password, or the secret of time-limited ones (`use-auth-secret`). */
  readonly credentials: TurnCredentials
  /** How clients reach it; default both. (What it relays is UDP.) */
  readonly transports?: readonly TurnTransport[]
  /** Where it listens and relays; default 127.0.0.1. */
  readonly address?: string
  /** Default a free one; in a namespace it must be said. */
  readonly port?: number
  /** A turnserver.conf with all the rest, credentials and port included: then both must be said as they are there. */
  readonly config?: string
  /** An existing one of `ip netns`; default ours. */
  readonly namespace?: string
  /** Further arguments of turnserver. */
  readonly further?: readonly string[]
}

const BOTH: readonly TurnTransport[] = ['udp', 'tcp']
/** What it relays from; coturn takes a free one of these, so that several servers may share them. */
const RELAY_PORTS = ['--min-port=49160', '--max-port=49400']

/** What a turnserver.conf would say. */
const OPTIONS = ['--realm=test.local', '--fingerprint', '--no-tls', '--no-dtls', '--no-cli', '--allow-loopback-peers']

const authentication = (credentials: TurnCredentials): string[] =>
  'secret' in credentials
    ? ['--use-auth-secret', `--static-auth-secret=${credentials.secret}`]
    : ['--lt-cred-mech', `--user=${credentials.username}:${credentials.credential}`]

export class Coturn {
  /** All that it printed so far. */
  log = ''
  readonly host: string
  readonly credentials: TurnCredentials
  readonly #process: ChildProcess
  readonly #folder: string
  #looking: (() => void)[] = []

  private constructor(process: ChildProcess, host: string, folder: string, credentials: TurnCredentials) {
    this.#process = process
    this.#folder = folder
    this.host = host
    this.credentials = credentials
    for (const stream of [process.stdout, process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.log += text
        for (const look of [...this.#looking]) look()
      })
    }
  }

  static async start(options: CoturnOptions): Promise<Coturn> {
    const { credentials, transports = BOTH, address = '127.0.0.1', config, namespace, further = [] } = options
    const port = options.port ?? (await freePort(address))
    const folder = await mkdtemp(join(tmpdir(), 'named-master-coturn-'))
    const command = [
      ...(namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace]),
      ...['turnserver', `--listening-ip=${address}`, `--relay-ip=${address}`, ...RELAY_PORTS],
      ...(config === undefined
        ? ['-n', `--listening-port=${port}`, ...OPTIONS, ...authentication(credentials)]
        : ['-c', config]),
      ...BOTH.filter((transport) => !transports.includes(transport)).map((transport) => `--no-${transport}`),
      ...[`--userdb=${join(folder, 'users')}`, `--pidfile=${join(folder, 'pid')}`, '--log-file=stdout', '--verbose'],
      ...further,
    ]
    const [file = '', ...args] = command
    const child = spawn(file, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
    const coturn = new Coturn(child, `${address}:${port}`, folder, credentials)
    try {
      for (const transport of transports) {
        await coturn.says(transport === 'udp' ? /UDP listener opened/ : /TCP listener opened/)
      }
    } catch (error) {
      await coturn.stop()
      throw error
    }
    return coturn
  }

  get stun(): string {
    return `stun:${this.host}`
  }

  turn(transport: TurnTransport): string {
    return `turn:${this.host}?transport=${transport}`
  }

  /** The entry of turn.config.json for it. */
  entry(transport: TurnTransport): { urls: string } & TurnCredentials {
    return { urls: this.turn(transport), ...this.credentials }
  }

  /** Resolves when it has printed that, and rejects when it ends first. */
  says(what: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const over = (): void => {
        this.#looking = this.#looking.filter((one) => one !== look)
        this.#process.off('close', ended).off('error', ended)
      }
      const look = (): void => {
        const found = what.exec(this.log)
        if (found === null) return
        over()
        resolve(found)
      }
      const ended = (why?: unknown): void => {
        over()
        reject(new Error(`turnserver has ended (${String(why)}) and did not say ${what}. It said:\n${this.log}`))
      }
      this.#looking.push(look)
      this.#process.once('close', ended).once('error', ended)
      look()
    })
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    const { pid, exitCode, signalCode } = this.#process
    if (pid !== undefined && exitCode === null && signalCode === null) {
      const closed = once(this.#process, 'close')
      this.#process.kill()
      await closed
    }
    await rm(this.#folder, { recursive: true, force: true })
  }
}

/** Free for UDP and TCP, a moment ago: coturn cannot be asked for any. */
async function freePort(address: string): Promise<number> {
  const tcp = createServer().listen(0, address)
  await once(tcp, 'listening')
  const { port } = tcp.address() as AddressInfo
  const udp = createSocket('udp4').bind(port, address)
  await once(udp, 'listening')
  await Promise.all([new Promise<void>((done) => udp.close(done)), new Promise((done) => tcp.close(done))])
  return port
}
