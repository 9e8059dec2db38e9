/** `named-master names`: what an operator may do to the registered names while no name server runs on them. */
import { NamedMasterError } from '../errors.js'
import { NAME_RULE, normalizeName } from '../protocol/naming.js'
import { Names } from '../../nameserver/names.js'
import { openStorage } from '#storage'

/** Prints the names with how often each was claimed and when it was registered. @throws storage-locked, storage-failed */
export async function listNames(data: string): Promise<void> {
  const entries = await withNames(data, (names) => names.list())
  if (entries.length === 0) {
    process.stdout.write(`No name is registered in ${data}\n`)
    return
  }
  const rows = entries.map(
    ({ name, claim, registered }) => [name, String(claim), new Date(registered).toISOString()] as const,
  )
  const width = Math.max(...rows.map(([name]) => name.length), 4)
  for (const [name, claims, registered] of [['NAME', 'CLAIMS', 'REGISTERED'] as const, ...rows]) {
    process.stdout.write(`${name.padEnd(width)}  ${claims.padStart(6)}  ${registered}\n`)
  }
}

/** For a lost key: frees the name. @throws not-registered, invalid-name, storage-locked, storage-failed */
export async function deleteName(data: string, asked: string): Promise<void> {
  const name = normalizeName(asked)
  if (name === undefined) throw new NamedMasterError('invalid-name', NAME_RULE)
  const deleted = await withNames(data, (names) => names.delete(name))
  if (!deleted)
    throw new NamedMasterError('not-registered', `"${name}" is not registered in ${data}: see "named-master names"`)
  process.stdout.write(`"${name}" is free: the next startServer registers it\n`)
}

async function withNames<T>(data: string, work: (names: Names) => Promise<T>): Promise<T> {
  const storage = await openStorage(data, 'name-server', { existing: true })
  try {
    return await work(new Names(storage.table('names')))
  } finally {
    await storage.close()
  }
}
