/**
 * Which database a slave's outbox is in. In Node it is the folder that the program names. In a browser every tab needs one
 * of its own: `<data>/0`, `<data>/1` and so on are the slots, and a tab takes a free one: where changes wait, if there is one, else the
 * first.
 *
 * Promises: nobody else has the database while it is open (see "#storage"). Loaded only by slaves that have an outbox, so
 * that Level is no burden to others.
 */
import { openStorage, type Storage } from '#storage'
import { NamedMasterError } from '../errors.js'
import { Outbox, type Address, type OutboxOptions } from './outbox.js'

/** Tabs at once: more is a program that opens them. */
const MAX_SLOTS = 64

export interface Place extends Address, OutboxOptions {
  readonly data: string
  /** Where several tabs of one page come and go. Elsewhere there is a folder, and one process to it. */
  readonly tabs: boolean
}

/** @throws storage-locked, storage-foreign, storage-newer, storage-damaged, storage-failed */
export async function openOutbox(place: Place): Promise<Outbox> {
  const storage = place.tabs ? await takeSlot(place) : await openStorage(place.data, 'outbox')
  return Outbox.open(storage, place, place)
}

/** Opens, one after the other, the free slots in which changes wait; whoever gets an outbox closes it. */
export async function* leftOutboxes(place: Place): AsyncGenerator<Outbox, void> {
  for await (const storage of freeSlots(place.data)) {
    if (await Outbox.waits(storage, place)) yield await Outbox.open(storage, place, place)
    else await storage.close()
  }
}

async function takeSlot(place: Place): Promise<Storage> {
  let first: Storage | undefined
  for await (const storage of freeSlots(place.data)) {
    if (await Outbox.waits(storage, place)) {
      await first?.close()
      return storage
    }
    if (first === undefined) first = storage
    else await storage.close()
  }
  if (first !== undefined) return first
  const sentence = `${MAX_SLOTS} tabs have an outbox "${place.data}" open: close some, or name another`
  throw new NamedMasterError('storage-locked', sentence)
}

/** Opens each that nobody has; whoever is given one closes it. Above one that was never used there are no others. */
async function* freeSlots(data: string): AsyncGenerator<Storage, void> {
  for (let slot = 0; slot < MAX_SLOTS; slot++) {
    const storage = await openSlot(`${data}/${slot}`)
    if (storage === undefined) continue
    const used = await Outbox.used(storage)
    yield storage
    if (!used) return
  }
}

/** Undefined where another tab has it. */
async function openSlot(data: string): Promise<Storage | undefined> {
  try {
    return await openStorage(data, 'outbox')
  } catch (error) {
    if (error instanceof NamedMasterError && error.code === 'storage-locked') return undefined
    throw error
  }
}
