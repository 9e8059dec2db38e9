/**
 * One table of the commands' options: flags, environment variables, keys of the configuration file, defaults, help
 * and checks all come from it. A flag beats the environment, which beats the file, which beats the default.
 */
import { readFileSync } from 'node:fs'
import { Option, type Command } from 'commander'
import { NamedMasterError } from '../errors.js'
import { parseUrl } from '../signal/name-client.js'
import { DEFAULT_LIMITS, PING_INTERVAL_MS, PING_TIMEOUT_MS, type Limits } from '../../nameserver/limits.js'
import { DEFAULT_DATA, DEFAULT_HOST, DEFAULT_PORT } from '../../nameserver/server.js'
import { TURN_CONFIG_FILE } from '../../nameserver/ice.js'

interface Row<T> {
  /** As the help shows what is to be given; absent for a switch. */
  readonly value?: string
  readonly default: T
  /** As the help shows it, where the value itself would not do. */
  readonly defaultText?: string
  readonly description: string
  /** Takes a flag's text or a file's JSON; answers why not by throwing a `Wrong`. */
  readonly read: (given: unknown) => T
}

/** Why a value will not do, as the end of a sentence. */
class Wrong extends Error {}

const row = <T>(row: Row<T>): Row<T> => row

const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const
const LOG_FORMATS = ['lines', 'json'] as const

const NAME_SERVER_OPTIONS = {
  port: row({
    value: '<number>',
    default: DEFAULT_PORT,
    description: 'port to listen on; 0 takes a free one',
    read: integer(0, 65_535),
  }),
  host: row({
    value: '<address>',
    default: DEFAULT_HOST,
    description: 'address to listen on; 0.0.0.0 for all',
    read: text,
  }),
  data: row({
    value: '<folder>',
    default: DEFAULT_DATA,
    description: 'folder of the database; "false" keeps all in memory',
    read: textOrFalse,
  }),
  turn: row<string | false | undefined>({
    value: '<file>',
    default: undefined,
    description: `file of STUN and TURN servers, "false" for none (default: ${TURN_CONFIG_FILE} when it is there)`,
    read: textOrFalse,
  }),
  origins: row<'*' | readonly string[]>({
    value: '<list>',
    default: '*',
    description: 'origins of the pages that may come in, with commas between; * for all',
    read: origins,
  }),
  trustProxy: row({
    default: false,
    description: 'take the address of a client from the last entry of X-Forwarded-For',
    read: yesOrNo,
  }),
  limits: row<Partial<Limits>>({
    value: '<list>',
    default: {},
    defaultText: 'see below',
    description: 'other limits, such as socketsPerAddress=5000, with commas between',
    read: limits,
  }),
  pingInterval: row({
    value: '<ms>',
    default: PING_INTERVAL_MS,
    description: 'milliseconds between two pings',
    read: integer(100, 600_000),
  }),
  pingTimeout: row({
    value: '<ms>',
    default: PING_TIMEOUT_MS,
    description: 'milliseconds to answer one',
    read: integer(100, 600_000),
  }),
  logLevel: row<(typeof LOG_LEVELS)[number]>({
    value: '<level>',
    default: 'info',
    description: `what is logged: ${LOG_LEVELS.join(', ')}`,
    read: oneOf(LOG_LEVELS),
  }),
  logFormat: row<(typeof LOG_FORMATS)[number]>({
    value: '<format>',
    default: 'lines',
    description: `how: ${LOG_FORMATS.join(', ')}`,
    read: oneOf(LOG_FORMATS),
  }),
} as const

const DOCTOR_OPTIONS = {
  nameServer: row({
    value: '<url>',
    default: `http://localhost:${DEFAULT_PORT}`,
    description: 'name server to ask',
    read: nameServerUrl,
  }),
  timeout: row({
    value: '<seconds>',
    default: 10,
    description: 'seconds that each check may take',
    read: integer(1, 600),
  }),
  json: row({
    default: false,
    description: 'one JSON object at the end instead of lines',
    read: yesOrNo,
  }),
} as const

export const OPTIONS = { ...NAME_SERVER_OPTIONS, ...DOCTOR_OPTIONS } as const

export type OptionKey = keyof typeof OPTIONS

export type Settings = { readonly [K in OptionKey]: (typeof OPTIONS)[K] extends Row<infer T> ? T : never }

const keysOf = <T extends object>(table: T) => Object.keys(table) as (keyof T)[]
export const NAME_SERVER_KEYS = keysOf(NAME_SERVER_OPTIONS)
export const DOCTOR_KEYS = [...keysOf(DOCTOR_OPTIONS), 'turn'] as const

const snake = (key: string, between: string): string =>
  key.replace(/[A-Z]/g, (letter) => `${between}${letter.toLowerCase()}`)
export const flagOf = (key: string): string => `--${snake(key, '-')}`
export const variableOf = (key: string): string => `NAMED_MASTER_${snake(key, '_').toUpperCase()}`

/** Puts `--config` and these options on a command, with their variables and defaults in its help. */
export function addOptions(command: Command, keys: readonly OptionKey[]): Command {
  const config = new Option('--config <file>', 'JSON file with these options as keys, such as {"port": 8002}')
  command.addOption(config.env(variableOf('config')))
  for (const key of keys) {
    const { value = '[yes or no]', default: initial, defaultText, description } = OPTIONS[key] as Row<unknown>
    const option = new Option(`${flagOf(key)} ${value}`, description).env(variableOf(key)).default(initial, defaultText)
    if (value === '[yes or no]') option.preset('true')
    command.addOption(option)
  }
  return command
}

/**
 * What these options of a parsed command come to.
 * @throws invalid-config, with the flag, the variable or the file and its key, and the reason
 */
export function settingsOf<K extends OptionKey>(command: Command, keys: readonly K[]): Pick<Settings, K> {
  const settings = new Map<string, unknown>(Object.entries(OPTIONS).map(([key, row]) => [key, row.default]))
  // From the weakest to the strongest. What is overruled is checked all the same: better now than when it counts.
  const file: unknown = command.getOptionValue('config')
  if (typeof file === 'string') {
    for (const [key, value] of readConfigFile(file)) settings.set(key, readOne(key, value, `${file}: /${key}`))
  }
  for (const key of keys) {
    const source = command.getOptionValueSource(key)
    if (source !== 'cli' && source !== 'env') continue
    settings.set(key, readOne(key, command.getOptionValue(key), source === 'cli' ? flagOf(key) : variableOf(key)))
  }
  return Object.fromEntries(keys.map((key) => [key, settings.get(key)])) as Pick<Settings, K>
}

function readOne(key: OptionKey, value: unknown, source: string): unknown {
  try {
    return OPTIONS[key].read(value)
  } catch (error) {
    if (error instanceof Wrong) throw invalid(source, `${JSON.stringify(value)} ${error.message}`)
    throw error
  }
}

function readConfigFile(file: string): [OptionKey, unknown][] {
  let content: unknown
  try {
    content = JSON.parse(readFileSync(file, 'utf8'))
  } catch (cause) {
    const missing = (cause as { code?: unknown }).code === 'ENOENT'
    throw invalid(file, missing ? 'there is no such file' : cause instanceof Error ? cause.message : String(cause))
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw invalid(file, 'is no JSON object with options as keys')
  }
  for (const key of Object.keys(content)) {
    if (!Object.hasOwn(OPTIONS, key))
      throw invalid(`${file}: /${key}`, `is no option: ${Object.keys(OPTIONS).join(', ')}`)
  }
  return Object.entries(content) as [OptionKey, unknown][]
}

const invalid = (source: string, reason: string): NamedMasterError =>
  new NamedMasterError('invalid-config', `${source}: ${reason}`)

function wholeNumber(given: unknown): number | undefined {
  const number = typeof given === 'string' && /^\d{1,15}$/.test(given) ? Number(given) : given
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : undefined
}

function integer(least: number, most: number): (given: unknown) => number {
  return (given) => {
    const number = wholeNumber(given)
    if (number !== undefined && number >= least && number <= most) return number
    throw new Wrong(`is no whole number from ${least} to ${most}`)
  }
}

function text(given: unknown): string {
  if (typeof given === 'string' && given.trim() !== '') return given
  throw new Wrong('is no text')
}

function textOrFalse(given: unknown): string | false {
  return given === false || given === 'false' ? false : text(given)
}

function nameServerUrl(given: unknown): string {
  try {
    return parseUrl(text(given)).href
  } catch (error) {
    throw error instanceof TypeError ? new Wrong('is no URL such as http://localhost:8002') : error
  }
}

function yesOrNo(given: unknown): boolean {
  if (given === true || given === 'true' || given === 'yes') return true
  if (given === false || given === 'false' || given === 'no') return false
  throw new Wrong('is neither true nor false')
}

function oneOf<const T extends string>(values: readonly T[]): (given: unknown) => T {
  return (given) => {
    const found = values.find((value) => value === given)
    if (found === undefined) throw new Wrong(`is none of ${values.join(', ')}`)
    return found
  }
}

function origins(given: unknown): '*' | readonly string[] {
  if (given === '*') return '*'
  const list: unknown[] =
    typeof given === 'string' ? given.split(',').map((one) => one.trim()) : Array.isArray(given) ? given : []
  if (list.length === 0) throw new Wrong('is neither * nor a list of origins')
  return list.map((one) => {
    if (typeof one === 'string' && URL.canParse(one) && new URL(one).origin === one) return one
    throw new Wrong(`has an entry that is no origin such as https://example.org: ${JSON.stringify(one)}`)
  })
}

function limits(given: unknown): Partial<Limits> {
  const pairs: [string, unknown][] =
    typeof given === 'string'
      ? given.split(',').map((pair): [string, unknown] => {
          const [key = '', value] = pair.split('=')
          return [key.trim(), value?.trim()]
        })
      : typeof given === 'object' && given !== null
        ? Object.entries(given)
        : []
  if (pairs.length === 0) throw new Wrong('is no list of limits such as socketsPerAddress=5000')
  return Object.fromEntries(
    pairs.map(([key, value]) => {
      if (!Object.hasOwn(DEFAULT_LIMITS, key))
        throw new Wrong(`names "${key}", which is none of ${Object.keys(DEFAULT_LIMITS).join(', ')}`)
      const count = wholeNumber(value)
      if (count === undefined || count < 1) throw new Wrong(`gives ${key} no whole number from 1`)
      return [key, count]
    }),
  )
}
