/** Where the rooms write what a person may want to read later. Never a key, a token or a credential. */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** One sentence, and what it is about as data. A function, so that any logger fits in one line. */
export type Log = (level: LogLevel, sentence: string, details?: Readonly<Record<string, unknown>>) => void

/** The default: what someone should look at goes to the console, the rest nowhere. */
export const consoleLog: Log = (level, sentence, details) => {
  if (level === 'warn' || level === 'error') console[level](`named-master: ${sentence}`, ...(details ? [details] : []))
}
