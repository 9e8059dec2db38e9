/**
 * "#storage" in Node: one Level in `<data>/db`; beside it `format.json`, which says whose it is, and `holder.json`, which
 * says who has it open.
 *
 * Promises: `storage-locked` with the holder's process id for a second process; a folder of something else, of a newer
 * version, or damaged is left as it is. What the database holds is the business of others.
 */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { crc32 } from 'node:zlib'
import { Level } from 'level'
import { MemoryLevel } from 'memory-level'
import { NamedMasterError } from '../errors.js'
import { LevelStorage, readFormat, STORAGE_FORMAT, type Codec, type Storage, type StorageKind } from './storage.js'

export type { Range, Storage, StorageKind, Table, Write } from './storage.js'

/** Whether what is written with `sync` survives a power cut. */
export const SYNCS = true

interface Holder {
  readonly pid: number
  readonly since: string
}

/**
 * @param data a folder, made when it is not there unless `existing`; false keeps all in memory
 * @throws storage-locked, storage-foreign, storage-newer, storage-damaged, storage-failed
 */
export async function openStorage(
  data: string | false,
  kind: StorageKind,
  options: { existing?: boolean } = {},
): Promise<Storage> {
  if (data === false) {
    const memory = new MemoryLevel()
    await memory.open()
    return new LevelStorage(memory as unknown as Level)
  }
  const folder = resolve(data)
  const holderFile = join(folder, 'holder.json')
  await prepare(folder, kind, options.existing ?? false)
  const level = new Level(join(folder, 'db'))
  try {
    await level.open()
  } catch (error) {
    throw await openFault(error, folder, holderFile)
  }
  const holder: Holder = { pid: process.pid, since: new Date().toISOString() }
  // Whoever has the lock writes the file, so a stale one of a killed process is simply replaced.
  await writeFile(holderFile, `${JSON.stringify(holder)}\n`).catch(() => undefined)
  return new LevelStorage(level, { codec: checked })
}

/** LevelDB does not check what it reads, so that a bit that fell over would be taken for data. */
const checked: Codec = {
  encode: (value) => {
    const text = JSON.stringify(value)
    return crcOf(text) + text
  },
  decode: (stored) => {
    const text = stored.slice(CRC_CHARACTERS)
    if (stored.slice(0, CRC_CHARACTERS) === crcOf(text)) return JSON.parse(text) as unknown
    const sentence = 'The database is damaged (a value is not as it was written): put a backup in its place'
    throw new NamedMasterError('storage-damaged', sentence)
  },
}

const CRC_CHARACTERS = 8
const crcOf = (text: string): string => crc32(text).toString(16).padStart(CRC_CHARACTERS, '0')

/** Makes the folder what it has to be, or throws before anything in it was touched. */
async function prepare(folder: string, kind: StorageKind, existing: boolean): Promise<void> {
  const formatFile = join(folder, 'format.json')
  const here = await exists(join(folder, 'db'))
  if (here) {
    readFormat(await readText(formatFile), kind, folder)
    // LevelDB would begin anew where its files are without the one that names them.
    const files = await readdir(join(folder, 'db'))
    if (files.includes('CURRENT') || !files.some((file) => /\.(ldb|log|sst)$/.test(file))) return
    throw damaged(folder, new Error('db/CURRENT is missing'))
  }
  if (existing) throw noDatabase(folder, new Error('no such folder'), 'name the folder of a name server')
  try {
    await mkdir(folder, { recursive: true })
    // Before the database: what is there without it is somebody else's.
    await writeFile(formatFile, `${JSON.stringify({ kind, format: STORAGE_FORMAT })}\n`)
  } catch (cause) {
    throw noDatabase(folder, cause, 'name a folder that can be written')
  }
}

const noDatabase = (folder: string, cause: unknown, wish: string): NamedMasterError =>
  new NamedMasterError('storage-failed', `There is no database in ${folder} (${reasonOf(cause)}): ${wish}`, { cause })

const damaged = (folder: string, cause: unknown): NamedMasterError =>
  new NamedMasterError(
    'storage-damaged',
    `The database in ${folder} is damaged (${reasonOf(cause)}): put a backup in its place, or name another folder`,
    { cause },
  )

async function openFault(error: unknown, folder: string, holderFile: string): Promise<NamedMasterError> {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  const { code } = cause as { code?: unknown }
  if (code === 'LEVEL_CORRUPTION') return damaged(folder, cause)
  if (code !== 'LEVEL_LOCKED') {
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

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

const readText = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined)

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
