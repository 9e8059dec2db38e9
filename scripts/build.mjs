/** `npm run build`: src/ and nameserver/ to dist/, and the file for a <script> tag. Nothing is done when nothing changed. */
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'
import { fingerprint, isFresh, markFresh } from './fresh.mjs'
import { installPackages } from './install.mjs'
import { main, root, runTool } from './run.mjs'

const SOURCES = ['src', 'nameserver', 'tsconfig.json', 'package.json', 'package-lock.json', 'scripts/build.mjs']
const BROWSER_FILE = 'dist/browser/named-master.js'

export async function build() {
  const print = fingerprint(SOURCES)
  if (isFresh('dist', print)) return
  rmSync(join(root, 'dist'), { recursive: true, force: true })
  await runTool('typescript/bin/tsc', ['-p', '.'])
  await bundleForScriptTag()
  const command = join(root, 'dist/src/cli/main.js')
  if (existsSync(command)) chmodSync(command, 0o755)
  markFresh('dist', print)
}

async function bundleForScriptTag() {
  const { version, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const { build: bundle } = await import('esbuild')
  await bundle({
    absWorkingDir: root,
    entryPoints: ['dist/src/index.js'],
    outfile: BROWSER_FILE,
    bundle: true,
    minify: true,
    format: 'iife',
    globalName: 'NamedMaster',
    platform: 'browser',
    conditions: ['browser'],
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"production"' },
    banner: { js: `/* named-master ${version} | ${license} */` },
    legalComments: 'inline',
    logLevel: 'warning',
  })
  const bytes = readFileSync(join(root, BROWSER_FILE))
  console.log(`${BROWSER_FILE}: ${kilobytes(bytes)}, ${kilobytes(gzipSync(bytes))} with gzip`)
}

const kilobytes = (bytes) => `${(bytes.length / 1000).toFixed(1)} kB`

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(async () => {
    await installPackages()
    await build()
  })
}
