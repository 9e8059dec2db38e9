/** Whether a folder was made from what its sources are now: a hash of every source file, kept in the folder. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { root } from './run.mjs'

const STAMP = '.inputs'

/** @param sources files and folders below the root */
export function fingerprint(sources) {
  const hash = createHash('sha256')
  for (const file of sources.flatMap((source) => filesBelow(join(root, source))).sort()) {
    hash
      .update(`${relative(root, file)}\0`)
      .update(readFileSync(file))
      .update('\0')
  }
  return hash.digest('hex')
}

export function isFresh(folder, print) {
  try {
    return readFileSync(join(root, folder, STAMP), 'utf8') === print
  } catch {
    return false
  }
}

/** Written last, so that a build which failed half-way is not taken for one. */
export const markFresh = (folder, print) => writeFileSync(join(root, folder, STAMP), print)

export function filesBelow(path) {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return []
  if (!stat.isDirectory()) return [path]
  return readdirSync(path).flatMap((name) => filesBelow(join(path, name)))
}
