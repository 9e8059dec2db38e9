/**
 * "#storage" in a browser: one Level in IndexedDB, named after its kind and `data`, under a Web Lock of that name, which
 * keeps other tabs out for as long as this one lives.
 */
import { Level } from 'level'
import { NamedMasterError } from '../errors.js'
import { LevelStorage, readFormat, STORAGE_FORMAT, type Storage, type StorageKind } from './storage.js'

export type { Range, Storage, StorageKind, Table, Write } from './storage.js'

/** Level does not let IndexedDB be told to wait for the disk. */
export const SYNCS = false

/** @throws storage-locked, storage-foreign, storage-newer, storage-damaged, storage-failed */
export async function openStorage(data: string, kind: StorageKind): Promise<Storage> {
  const name = `named-master/${kind}/${data}`
  const release = await lock(name, data)
  try {
    const level = new Level(name)
    await level.open()
    const storage = new LevelStorage(level, { released: release })
    await checkFormat(storage, kind, data)
    return storage
  } catch (cause) {
    release()
    const sentence = `The browser does not open the database "${data}": allow this page storage`
    throw NamedMasterError.from(cause, 'storage-failed', sentence)
  }
}

async function checkFormat(storage: Storage, kind: StorageKind, data: string): Promise<void> {
  const formats = storage.table('format')
  const format = await formats.get('format')
  if (format !== undefined) return readFormat(JSON.stringify(format), kind, `"${data}"`)
  await formats.put('format', { kind, format: STORAGE_FORMAT }, { sync: false })
}

/** Takes the lock, or throws; answers what lets it go. */
async function lock(name: string, data: string): Promise<() => void> {
  // Not there on a page without https: two tabs could write the same database, and neither would know.
  const locks = (navigator as Partial<Navigator>).locks
  if (locks === undefined) {
    const sentence = `"${data}" cannot be kept from other tabs: serve this page over https, or from localhost`
    throw new NamedMasterError('storage-failed', sentence)
  }
  return new Promise((resolve, reject) => {
    const held = (lock: Lock | null): Promise<void> | undefined => {
      if (lock !== null) return new Promise<void>((release) => resolve(release))
      const sentence = `The database "${data}" is held by another tab of this page: close that one, or name another`
      reject(new NamedMasterError('storage-locked', sentence))
      return undefined
    }
    locks.request(name, { ifAvailable: true }, held).catch(reject)
  })
}
