/** "#deflate" in a browser: raw DEFLATE (RFC 1951) by the Compression Streams API, which needs no secure context. */

/** The bytes of the text in UTF-8, deflated. */
export const deflate = (text: string): Promise<Uint8Array> =>
  through(new CompressionStream('deflate-raw'), new TextEncoder().encode(text), Infinity)

/** Refuses what is not deflated, and with a RangeError what would have more than `maxBytes`: throws, or rejects. */
export const inflate = (bytes: Uint8Array, maxBytes: number): Uint8Array | Promise<Uint8Array> =>
  through(new DecompressionStream('deflate-raw'), bytes, maxBytes)

async function through(
  stream: CompressionStream | DecompressionStream,
  bytes: Uint8Array,
  maxBytes: number,
): Promise<Uint8Array> {
  const writer = stream.writable.getWriter()
  // What goes wrong with them goes wrong with the reader, too, who tells.
  writer.write(bytes as Uint8Array<ArrayBuffer>).catch(() => undefined)
  writer.close().catch(() => undefined)
  const reader = (stream.readable as ReadableStream<Uint8Array>).getReader()
  const chunks: Uint8Array[] = []
  let length = 0
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    chunks.push(read.value)
    length += read.value.length
    if (length > maxBytes) {
      await reader.cancel()
      throw new RangeError(`There are more than ${maxBytes} bytes`)
    }
  }
  const whole = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}
