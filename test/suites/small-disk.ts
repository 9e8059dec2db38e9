/** A disk that can be full: a tmpfs of a few megabytes, which only root may mount. */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** It is filled in pieces of so many bytes, each a sixteenth of the one before. */
const PIECES_BYTES = [65_536, 4096, 256, 16, 1]

export class SmallDisk {
  readonly path = mkdtempSync(join(tmpdir(), 'named-master-disk-'))
  readonly #filler = join(this.path, 'filler')

  constructor(mebibytes: number) {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', this.path])
  }

  /** Not one more byte. */
  fill(): void {
    const file = openSync(this.#filler, 'w')
    for (const bytes of PIECES_BYTES) while (writes(file, bytes));
    closeSync(file)
  }

  free(): void {
    rmSync(this.#filler)
  }

  /** Nobody may have a file open there. */
  unmount(): void {
    execFileSync('umount', [this.path])
    rmdirSync(this.path)
  }
}

function writes(file: number, bytes: number): boolean {
  try {
    return writeSync(file, new Uint8Array(bytes)) > 0
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return false
    throw error
  }
}
