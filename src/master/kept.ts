/**
 * A master's folder as it is read when a life begins: the tables, the records in them, and the whole they must make.
 *
 * Promises: what is answered holds together (a snapshot with all its parts, every version after it, whole records); else
 * it is `storage-damaged`. It reads and never writes.
 */
import * as v from 'valibot'
import type { Storage, Table } from '#storage'
import { NamedMasterError } from '../errors.js'
import { encode } from '../link/link.js'
import { Counter, envelope, Json, Timestamp, Uuid } from '../protocol/envelope.js'
import type { JsonValue } from '../protocol/json.js'
import { Commit, Part } from '../protocol/replication.js'
import type { LogEntry } from '../store/authority.js'
import { patched } from '../store/follow.js'
import { Assembly } from '../store/pieces.js'
import type { Term } from './terms.js'

/** What lies where. Versions and client numbers are keys of sixteen digits, so that their order is the numbers'. */
export const TABLES = {
  /**
   * `snapshot`: the latest that is whole; `newest-client`: the highest number that was given to a client; `closed`: the
   * version at which a life ended in order.
   */
  meta: 'meta',
  /** By life: 0, 1, 2, ... */
  terms: 'terms',
  /** By version. */
  commits: 'commits',
  /** By client number. */
  clients: 'clients',
  /** The seq of each client's last commit, by client number. */
  seqs: 'seqs',
  /** By version and part. */
  snapshots: 'snapshots',
  /** The secret keys, by name server and name. */
  keys: 'keys',
} as const

export const keyOfVersion = (version: number): string => String(version).padStart(16, '0')
export const keyOfPart = (version: number, part: number): string => `${keyOfVersion(version)}/${keyOfVersion(part)}`

const ClientRecord = v.object({
  client: Counter,
  /** SHA-256 of the client's secret. */
  hash: v.string(),
  /** When it was last welcomed, in milliseconds since 1970; not more exact than an hour. */
  seen: Timestamp,
  /** It may not know yet that it is new here: the session that its welcome named. */
  unheard: v.exactOptional(Uuid),
})
export type ClientRecord = v.InferOutput<typeof ClientRecord>

const TermRecord = v.object({ term: Uuid, from: Counter })
const SnapshotRecord = v.object({ version: Counter, parts: Counter, characters: Counter })
const Skeleton = v.object({ state: v.exactOptional(Json) })
const Stored = v.object({
  commit: Commit,
  paths: v.array(v.string()),
  appends: v.array(v.tuple([v.string(), Counter])),
  mutate: v.boolean(),
})

/** All that a folder holds of the lives before. */
export interface Kept {
  readonly version: number
  readonly state: JsonValue | undefined
  /** The latest commits, without a gap, up to `version`. */
  readonly entries: readonly LogEntry[]
  readonly terms: readonly Term[]
  /** How many lives there were. */
  readonly lives: number
  /** With the seq of each one's last commit. */
  readonly clients: readonly (ClientRecord & { readonly lastSeq: number })[]
  readonly newestClient: number
  readonly charactersSinceSnapshot: number
  readonly snapshotCharacters: number
}

/** A commit as it is stored. */
export const toStored = ({ commit, writes, mutate }: LogEntry): v.InferInput<typeof Stored> => ({
  commit: commit,
  paths: [...writes.paths],
  appends: [...writes.appends],
  mutate,
})

/** @returns undefined for a folder in which no life has begun. @throws storage-damaged, storage-failed */
export async function readKept(storage: Storage): Promise<Kept | undefined> {
  const meta = storage.table(TABLES.meta)
  const latest = read(SnapshotRecord, await meta.get('snapshot'), 'the snapshot')
  if (latest === undefined) {
    for await (const [key] of storage.table(TABLES.commits).iterator({ limit: 1 }))
      throw damaged(`commit ${Number(key)} has no snapshot before it`)
    return undefined
  }
  const terms: Term[] = []
  let lives = 0
  for await (const [key, value] of storage.table(TABLES.terms).iterator()) {
    terms.push(demand(TermRecord, value, `term ${Number(key)}`))
    lives = Number(key) + 1
  }
  const closed = read(Counter, await meta.get('closed'), 'the version of the last end') ?? 0
  const state = await readSnapshot(storage.table(TABLES.snapshots), latest)
  const log = await readCommits(storage.table(TABLES.commits), latest.version, state)
  if (log.version < closed) throw damaged(`commit ${log.version + 1} is missing`)
  return {
    ...log,
    terms,
    lives,
    clients: await readClients(storage),
    newestClient: read(Counter, await meta.get('newest-client'), 'the newest client') ?? 0,
    snapshotCharacters: latest.characters,
  }
}

async function readSnapshot(
  table: Table<unknown>,
  { version, parts }: v.InferOutput<typeof SnapshotRecord>,
): Promise<JsonValue | undefined> {
  let assembly: Assembly | undefined
  let found = 0
  for await (const [key, value] of table.iterator({ gte: keyOfPart(version, 0), lt: keyOfPart(version, parts) })) {
    if (key !== keyOfPart(version, found)) break
    if (found++ === 0) {
      const { state } = demand(Skeleton, value, 'the snapshot')
      if (state !== undefined) assembly = new Assembly(state)
    } else {
      const piece = demand(Part, value, `part ${found} of the snapshot`)
      if (assembly === undefined) throw damaged('a snapshot of nothing has parts')
      assembly.add(piece)
    }
  }
  if (found < parts) throw damaged(`the snapshot of version ${version} has ${found} of its ${parts} parts`)
  return assembly?.value
}

/** The log, and the state that it leads to. Owns the state. */
async function readCommits(
  table: Table<unknown>,
  snapshot: number,
  before: JsonValue | undefined,
): Promise<Pick<Kept, 'version' | 'state' | 'entries' | 'charactersSinceSnapshot'>> {
  const entries: LogEntry[] = []
  let version = snapshot
  let state = before
  let characters = 0
  for await (const [key, value] of table.iterator()) {
    const { commit, paths, appends, mutate } = demand(Stored, value, `commit ${Number(key)}`)
    const expected = (entries.at(-1)?.commit.version ?? Math.min(commit.version - 1, snapshot)) + 1
    if (commit.version !== expected || keyOfVersion(expected) !== key) throw damaged(`commit ${expected} is missing`)
    const entry = {
      commit,
      text: encode(envelope('commit', commit)),
      writes: { paths: new Set(paths), appends: new Map(appends) },
      mutate,
    }
    entries.push(entry)
    if (commit.version <= snapshot) continue
    state = applied(state, entry)
    version = commit.version
    characters += entry.text.length
  }
  // A log that ends before the snapshot is of no use to those who come back; the state is whole.
  const reaches = entries.at(-1)?.commit.version === version
  return { version, state, entries: reaches ? entries : [], charactersSinceSnapshot: characters }
}

function applied(state: JsonValue | undefined, { commit }: LogEntry): JsonValue | undefined {
  try {
    const replaced = patched(state, commit.patch, true)
    return replaced === undefined ? state : (replaced as JsonValue)
  } catch (cause) {
    throw damaged(`commit ${commit.version} does not fit the one before it`, cause)
  }
}

async function readClients(storage: Storage): Promise<Kept['clients']> {
  const seqs = new Map<string, unknown>()
  for await (const [key, seq] of storage.table(TABLES.seqs).iterator()) seqs.set(key, seq)
  const clients: (ClientRecord & { readonly lastSeq: number })[] = []
  for await (const [key, value] of storage.table(TABLES.clients).iterator()) {
    const record = demand(ClientRecord, value, `client ${Number(key)}`)
    const lastSeq = read(Counter, seqs.get(key), `the seq of client ${record.client}`) ?? 0
    clients.push({ ...record, lastSeq })
  }
  return clients
}

function read<T>(schema: v.GenericSchema<unknown, T>, value: unknown, what: string): T | undefined {
  return value === undefined ? undefined : demand(schema, value, what)
}

function demand<T>(schema: v.GenericSchema<unknown, T>, value: unknown, what: string): T {
  const parsed = v.safeParse(schema, value)
  if (parsed.success) return parsed.output
  throw damaged(`${what} is not as it was written`)
}

const damaged = (what: string, cause?: unknown): NamedMasterError =>
  new NamedMasterError(
    'storage-damaged',
    `The master's data folder does not hold together (${what}): put a backup in its place`,
    { cause },
  )
