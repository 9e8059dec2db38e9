/** The log of a command, on stderr: lines for a person, or JSON for a machine. stdout is for what was asked for. */
import { pino } from 'pino'
import type { Log } from '../log.js'
import type { Settings } from './options.js'

const RANK = { silent: 0, error: 1, warn: 2, info: 3, debug: 4 } as const

const STDERR = 2

export function createLog({ logLevel, logFormat }: Pick<Settings, 'logLevel' | 'logFormat'>): Log {
  if (logFormat === 'json') {
    // Written at once: a command that ends loses nothing.
    const logger = pino({ level: logLevel }, pino.destination({ dest: STDERR, sync: true }))
    return (level, sentence, details) =>
      logger[level]({ ...details, ...errorsOf(details, (error) => pino.stdSerializers.err(error)) }, sentence)
  }
  return (level, sentence, details) => {
    if (RANK[level] > RANK[logLevel]) return
    const data = Object.entries({ ...details, ...errorsOf(details, (error) => error.stack ?? error.message) })
    const tail = data
      .map(([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
      .join('')
    process.stderr.write(`${new Date().toISOString()} ${level.padEnd(5)} ${sentence}${tail}\n`)
  }
}

/** An error has no properties of its own to show. */
function errorsOf(details: Parameters<Log>[2], show: (error: Error) => unknown): Record<string, unknown> {
  const errors = Object.entries(details ?? {}).filter((entry): entry is [string, Error] => entry[1] instanceof Error)
  return Object.fromEntries(errors.map(([key, error]) => [key, show(error)]))
}
