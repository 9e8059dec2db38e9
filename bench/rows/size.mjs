/** What a page loads, in kB with gzip: bundled and minified alike, for the browser. */
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { loadedAtOnce } from '../../scripts/loaded-at-once.mjs'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** What each contender's page imports. */
const PAGES = {
  'named-master/slave': "export { Slave } from 'named-master/slave'",
  PeerJS: "export { Peer } from 'peerjs'",
  'socket.io-client': "export { io } from 'socket.io-client'",
}

export const processes = {}

export async function run() {
  const rounds = { 'named-master.js': [kilobytes([readFileSync(`${root}dist/browser/named-master.js`)])] }
  for (const [name, contents] of Object.entries(PAGES)) rounds[name] = [kilobytes(await bundled(contents))]
  const aims = [
    { of: 'named-master/slave', atMost: 26 },
    { of: 'named-master/slave', against: 'PeerJS' },
    { of: 'named-master/slave', against: 'socket.io-client' },
    { of: 'named-master.js', against: 'PeerJS' },
  ]
  return [{ what: 'gzip', unit: 'kB', rounds, aims }]
}

async function bundled(contents) {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    stdin: { contents, resolveDir: root },
    outdir: '.',
    bundle: true,
    // What a page asks for later is no part of what it loads.
    splitting: true,
    metafile: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"production"' },
    write: false,
    logLevel: 'error',
  })
  const loaded = loadedAtOnce(metafile, 'stdin.js')
  return outputFiles.filter(({ path }) => loaded.has(basename(path))).map(({ contents }) => contents)
}

const kilobytes = (files) => files.reduce((sum, bytes) => sum + gzipSync(bytes, { level: 9 }).length, 0) / 1000
