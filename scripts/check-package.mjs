/**
 * What a user gets: the packed tarball, installed into an empty project outside of the repository, imported, required,
 * compiled against with `skipLibCheck: false`, and bundled for the browser. The project is test/package/.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { loadedAtOnce } from './loaded-at-once.mjs'
import { CommandFailed, root, run, runTool } from './run.mjs'

/** kB with gzip of `named-master/slave`, socket.io-client included: the size to stay below. */
const SLAVE_AIM_KB = 26

export async function checkPackage() {
  const project = mkdtempSync(join(tmpdir(), 'named-master-consumer-'))
  try {
    const tarball = pack(project)
    await runTool('publint/src/cli.js', [tarball, '--strict'])
    cpSync(join(root, 'test/package'), project, { recursive: true })
    // A consumer with `skipLibCheck: false` needs @types/node beside the package (see README of test/package).
    const nodeTypes = `@types/node@${versionOf('@types/node')}`
    await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', tarball, nodeTypes], { cwd: project })
    await run(process.execPath, ['entries.mjs'], { cwd: project })
    await run(join(project, 'node_modules/.bin/named-master'), ['--version'], { cwd: project })
    for (const resolution of ['nodenext', 'bundler']) {
      await runTool('typescript/bin/tsc', ['--noEmit', '-p', join(project, `tsconfig.${resolution}.json`)])
      console.log(`A consumer compiles with ${resolution} resolution`)
    }
    await bundleSlave(project)
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
}

function pack(destination) {
  const output = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', destination], {
    cwd: root,
    encoding: 'utf8',
  })
  const [{ filename, size, entryCount }] = JSON.parse(output)
  console.log(`${filename}: ${(size / 1000).toFixed(1)} kB, ${entryCount} files`)
  return join(destination, filename)
}

/** A Node module in it is an error of esbuild's already, since for a browser it cannot be resolved. */
async function bundleSlave(project) {
  const { build } = await import('esbuild')
  const { outputFiles, metafile } = await build({
    absWorkingDir: project,
    entryPoints: ['page.js'],
    outdir: '.',
    bundle: true,
    // The outbox and its database are loaded by pages that ask for one.
    splitting: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    define: { 'process.env.NODE_ENV': '"production"' },
    metafile: true,
    write: false,
    logLevel: 'error',
  })
  const loaded = loadedAtOnce(metafile, 'page.js')
  const inputs = [...loaded].flatMap((file) => Object.keys(metafile.outputs[file].inputs))
  const foreign = inputs.filter((path) => /node_modules\/(wrtc|@roamhq|level|ws)\//.test(path))
  if (foreign.length > 0) throw new CommandFailed(`The slave's bundle holds what no slave needs: ${foreign.join(', ')}`)
  const files = outputFiles.filter(({ path }) => loaded.has(basename(path)))
  const kilobytes = files.reduce((sum, { contents }) => sum + gzipSync(contents).length, 0) / 1000
  const verdict = kilobytes <= SLAVE_AIM_KB ? 'within' : 'ABOVE'
  console.log(
    `named-master/slave in a page: ${kilobytes.toFixed(1)} kB with gzip, ${verdict} the aim of ${SLAVE_AIM_KB} kB`,
  )
}

const versionOf = (name) => JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version
