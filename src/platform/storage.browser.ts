/**
 * "#storage" in a browser: one Level in IndexedDB, named after `data`. IndexedDB keeps no other page out: a second
 * master in the same browser must be given another `data`.
 */
import { Level } from 'level'
import { NamedMasterError } from '../errors.js'
import type { Storage } from './storage.node.js'

export type { Storage, Table } from './storage.node.js'

/** @throws storage-failed */
export async function openStorage(data: string): Promise<Storage> {
  const level = new Level<string, unknown>(data, { valueEncoding: 'json' })
  try {
    await level.open()
  } catch (cause) {
    throw new NamedMasterError(
      'storage-failed',
      `The browser does not open the database "${data}": allow this page storage`,
      {
        cause,
      },
    )
  }
  return {
    table: (name) => level.sublevel<string, unknown>(name, { valueEncoding: 'json' }),
    get open() {
      return level.status === 'open'
    },
    close: () => level.close(),
  }
}
