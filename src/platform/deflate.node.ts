/** "#deflate" in Node: raw DEFLATE (RFC 1951), on another thread. */
import { promisify } from 'node:util'
import { deflateRaw, inflateRaw } from 'node:zlib'

/** Level 6 takes four times as long for a fifth less. */
const LEVEL = 1

const deflateBytes = promisify<string, { level: number }, Uint8Array>(deflateRaw)
const inflateBytes = promisify<Uint8Array, { maxOutputLength: number }, Uint8Array>(inflateRaw)

/** The bytes of the text in UTF-8, deflated. */
export const deflate = (text: string): Promise<Uint8Array> => deflateBytes(text, { level: LEVEL })

/** Rejects what is not deflated, and what would have more than `maxBytes`. */
export const inflate = (bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> =>
  inflateBytes(bytes, { maxOutputLength: maxBytes })
