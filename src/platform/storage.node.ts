/**
 * Opens and closes a database, a name server's or a master's: one Level in `<data>/db`, and beside it `holder.json`, which says who
 * has it open. Promises `storage-locked` with the holder's process id for a second process, `storage-failed` for
 * everything else that goes wrong; what the database holds is the business of others.
 */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Level } from 'level'
import { MemoryLevel } from 'memory-level'
import { NamedMasterError } from '../errors.js'

/** What the rooms need of a Level: JSON values under text keys. */
export interface Table<Value> {
  get(key: string): Promise<Value | undefined>
  put(key: string, value: Value, options: { sync: boolean }): Promise<void>
  del(key: string, options: { sync: boolean }): Promise<void>
  iterator(): AsyncIterable<[string, Value]>
}

export interface Storage {
  table(name: string): Table<unknown>
  readonly open: boolean
  /** Idempotent. */
  close(): Promise<void>
}

interface Holder {
  readonly pid: number
  readonly since: string
}

/**
 * @param data a folder, made when it is not there unless `existing`; false keeps all in memory
 * @throws storage-locked, storage-failed
 */
export async function openStorage(data: string | false, options: { existing?: boolean } = {}): Promise<Storage> {
  if (data === false) {
    const memory = new MemoryLevel<string, unknown>({ valueEncoding: 'json' })
    return asStorage(memory, (name) => memory.sublevel<string, unknown>(name, { valueEncoding: 'json' }))
  }
  const folder = resolve(data)
  const holderFile = join(folder, 'holder.json')
  try {
    if (options.existing === true) await stat(join(folder, 'db'))
    else await mkdir(folder, { recursive: true })
  } catch (cause) {
    const wish = options.existing === true ? 'name the folder of a name server' : 'name a folder that can be written'
    throw new NamedMasterError('storage-failed', `There is no database in ${folder} (${reasonOf(cause)}): ${wish}`, {
      cause,
    })
  }
  const level = new Level<string, unknown>(join(folder, 'db'), { valueEncoding: 'json' })
  try {
    await level.open()
  } catch (error) {
    throw await openFault(error, folder, holderFile)
  }
  const holder: Holder = { pid: process.pid, since: new Date().toISOString() }
  // Whoever has the lock writes the file, so a stale one of a killed process is simply replaced.
  await writeFile(holderFile, `${JSON.stringify(holder)}\n`).catch(() => undefined)
  return asStorage(level, (name) => level.sublevel<string, unknown>(name, { valueEncoding: 'json' }))
}

function asStorage(level: Pick<Level, 'status' | 'close'>, table: Storage['table']): Storage {
  return {
    table,
    get open() {
      return level.status === 'open'
    },
    close: () => level.close(),
  }
}

async function openFault(error: unknown, folder: string, holderFile: string): Promise<NamedMasterError> {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  if ((cause as { code?: unknown }).code !== 'LEVEL_LOCKED') {
    const text = `The database in ${folder} cannot be opened (${reasonOf(cause)}): check its permissions and the disk`
    return new NamedMasterError('storage-failed', text, { cause: error })
  }
  const holder = await readHolder(holderFile)
  const who = holder === undefined ? 'another process' : `process ${holder.pid} since ${holder.since}`
  const text = `The database in ${folder} is held by ${who}: stop that one, or name another folder with --data`
  return new NamedMasterError('storage-locked', text, { cause: error })
}

async function readHolder(file: string): Promise<Holder | undefined> {
  try {
    const read: unknown = JSON.parse(await readFile(file, 'utf8'))
    const { pid, since } = read as Partial<Record<keyof Holder, unknown>>
    return typeof pid === 'number' && typeof since === 'string' ? { pid, since } : undefined
  } catch {
    return undefined
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
