/**
 * turn.config.json -> the ICE servers a client gets (seed document 2; RFC 8445, 8656).
 *
 * Promises: what is handed out is what WebRTC engines take (`urls` a list, TURN with credentials); a wrong file is
 * `invalid-config` and names the file, the key and the reason. An entry with a `secret` gives every client a credential
 * of its own that ends (the TURN server's REST API, coturn's `use-auth-secret`); the secret never leaves.
 */
import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import * as v from 'valibot'
import { NamedMasterError } from '../src/errors.js'
import type { IceServer } from '../src/protocol/naming.js'

/** Read from the working folder when it is there and nothing else was said. */
export const TURN_CONFIG_FILE = 'turn.config.json'

/** Seconds a made credential is good for: a day, so that a clock an hour off does no harm. */
export const CREDENTIAL_SECONDS = 24 * 60 * 60

/** The user part of a made credential when the entry names none. */
const DEFAULT_USER = 'named-master'

/** Servers in all; browsers warn from five on, because each costs time. */
const MAX_SERVERS = 16

/** RFC 7064 and 7065: scheme, host, port, and for TURN the transport. */
const ICE_URL = /^(stuns?|turns?):(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(\d{1,5}))?(\?transport=(?:udp|tcp))?$/i

/** Where the server of an ICE URL is; undefined when it is none. */
export function placeOf(url: string): { scheme: string; host: string; port: number } | undefined {
  const [, scheme, host, port] = ICE_URL.exec(url) ?? []
  if (scheme === undefined || host === undefined) return undefined
  const usual = scheme.endsWith('s') ? 5349 : 3478
  return { scheme: scheme.toLowerCase(), host: host.replace(/^\[|\]$/g, ''), port: Number(port ?? usual) }
}

/** One entry as written: `url` in the seed's spelling or `urls` in the standard's. */
export interface TurnEntry {
  readonly url?: string
  readonly urls?: string | readonly string[]
  readonly username?: string
  readonly credential?: string
  /** The TURN server's shared secret, instead of a credential. */
  readonly secret?: string
}
export interface TurnConfig {
  readonly iceServers: readonly TurnEntry[]
}

const Text = v.pipe(
  v.string('expected a text'),
  v.minLength(1, 'is empty'),
  v.maxLength(512, 'is longer than 512 characters'),
)
const Url = v.pipe(Text, v.rawCheck(({ dataset, addIssue }) => {
  const reason = dataset.typed ? urlFault(dataset.value) : undefined
  if (reason !== undefined) addIssue({ message: reason })
})) // prettier-ignore

/** The standard takes a text or a list. */
const Urls = v.pipe(
  v.union([v.string(), v.array(v.string())], 'expected a URL or a list of URLs'),
  v.transform((urls) => (typeof urls === 'string' ? [urls] : urls)),
  v.array(Url),
  v.minLength(1, 'is empty'),
)

const Entry = v.pipe(
  v.strictObject(
    {
      url: v.exactOptional(Url),
      urls: v.exactOptional(Urls),
      username: v.exactOptional(Text),
      credential: v.exactOptional(Text),
      secret: v.exactOptional(Text),
    },
    'expected an object with url or urls, and for TURN username and credential',
  ),
  v.rawTransform(({ dataset, addIssue, NEVER }): MadeEntry => {
    const { url, urls, username, credential, secret } = dataset.value
    const wrong = (message: string) => {
      addIssue({ message })
      return NEVER
    }
    if ((url === undefined) === (urls === undefined)) return wrong('needs either url or urls')
    const list = urls ?? (url === undefined ? [] : [url])
    if (secret !== undefined) {
      if (credential !== undefined) return wrong('has a secret and a credential: keep one of them')
      return { urls: list, username: username ?? DEFAULT_USER, secret }
    }
    if (!list.some((one) => /^turns?:/i.test(one))) return { urls: list }
    if (username === undefined) return wrong('is a TURN server and needs a username')
    if (credential === undefined) return wrong('is a TURN server and needs a credential (or a secret)')
    return { urls: list, username, credential }
  }),
)

const Config = v.strictObject(
  {
    iceServers: v.pipe(
      v.array(Entry, 'expected a list'),
      v.maxLength(MAX_SERVERS, `has more than ${MAX_SERVERS} servers`),
    ),
  },
  'expected an object with the list iceServers',
)

interface MadeEntry {
  readonly urls: string[]
  readonly username?: string
  readonly credential?: string
  readonly secret?: string
}

/** What a name server hands out. */
export class IceServers {
  readonly #entries: readonly MadeEntry[]

  constructor(entries: readonly MadeEntry[]) {
    this.#entries = entries
  }

  get size(): number {
    return this.#entries.length
  }

  /** Whether what is handed out ends, and is to be handed out again. */
  get expiring(): boolean {
    return this.#entries.some((entry) => entry.secret !== undefined)
  }

  /** @param now milliseconds since 1970 */
  at(now: number): IceServer[] {
    return this.#entries.map(({ urls, username, credential, secret }) => {
      if (secret !== undefined && username !== undefined) return { urls, ...timeLimited(secret, username, now) }
      return { urls, ...(username !== undefined && { username }), ...(credential !== undefined && { credential }) }
    })
  }
}

/** User name `<unix time of its end>:<user>`, credential base64 of HMAC-SHA1 over it: what TURN servers check by themselves. */
function timeLimited(secret: string, user: string, now: number): { username: string; credential: string } {
  const username = `${Math.floor(now / 1000) + CREDENTIAL_SECONDS}:${user}`
  return { username, credential: createHmac('sha1', secret).update(username).digest('base64') }
}

/**
 * @param turn a file, the configuration itself, false for none; undefined reads turn.config.json if it is there
 * @throws invalid-config
 */
export async function loadIceServers(turn: string | TurnConfig | false | undefined): Promise<IceServers> {
  if (turn === false) return new IceServers([])
  if (typeof turn === 'object') return parseTurnConfig(turn, 'turn')
  const file = turn ?? TURN_CONFIG_FILE
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    const missing = (cause as { code?: unknown }).code === 'ENOENT'
    if (missing && turn === undefined) return new IceServers([])
    const reason = missing ? 'there is no such file' : cause instanceof Error ? cause.message : String(cause)
    throw new NamedMasterError('invalid-config', `${file}: ${reason}`, { cause })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new NamedMasterError('invalid-config', `${file}: no JSON: ${cause instanceof Error ? cause.message : ''}`, {
      cause,
    })
  }
  return parseTurnConfig(value, file)
}

/** @param source what the error names @throws invalid-config */
export function parseTurnConfig(value: unknown, source: string): IceServers {
  const parsed = v.safeParse(Config, value, { abortEarly: true })
  if (parsed.success) return new IceServers(parsed.output.iceServers)
  const issue = parsed.issues[0]
  const path = (issue.path ?? []).map((item) => `/${String(item.key)}`).join('')
  throw new NamedMasterError('invalid-config', `${source}: ${path === '' ? '' : `${path}: `}${issue.message}`)
}

function urlFault(url: string): string | undefined {
  const match = ICE_URL.exec(url)
  if (match === null) return `"${url}" is no stun:, stuns:, turn: or turns: URL (such as turn:example.org:3478)`
  if (match[3] !== undefined && (Number(match[3]) < 1 || Number(match[3]) > 65_535))
    return `"${url}" has no port from 1 to 65535`
  if (match[4] !== undefined && /^stun/i.test(url)) return `"${url}": a STUN URL has no transport`
  return undefined
}
