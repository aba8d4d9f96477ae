import { parseSync, Visitor } from 'oxc-parser'
import { globSync, readFileSync } from 'node:fs'
import { basename, dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'

const src = join(import.meta.dirname, '..', 'src')

/** The ports that adapters implement; the rest of the folders they stand in is not the adapters' business. */
const ports = ['forwarder/broker.ts', 'subscriptions/consumer.ts']
const ledgerPorts = ['metadata-store', 'message-log', 'ledger-schema', 'store-error', 'store-name'].map(
  (name) => `recorder/${name}.ts`,
)
const everyFolder = ['base', 'message', 'http', 'intake', 'journal', 'forwarder', 'recorder', 'subscriptions', 'kafka', 'mysql', 'cassandra', 'embedded', 'admin', 'config', 'security'] // prettier-ignore

/**
 * Who may import whom: a folder of `src/`, or a file directly in it, to the folders and files that it may use. A folder
 * may always use itself. Stages never import one another; `sidecar.ts` and `delivery.ts` plug them together.
 */
const allowedEdges: Readonly<Record<string, readonly string[]>> = {
  base: [],
  message: ['base'],
  http: ['base'],
  config: ['base', 'security'],
  security: ['base', 'journal/key-ring.ts'],
  intake: ['base', 'message', 'http'],
  journal: ['base', 'message'],
  forwarder: ['base', 'message'],
  recorder: ['base', 'message'],
  subscriptions: ['base', 'message'],
  kafka: ['base', 'message', ...ports],
  mysql: ['base', 'message', ...ledgerPorts],
  cassandra: ['base', 'message', ...ledgerPorts],
  embedded: ['base', 'message', ...ports, ...ledgerPorts],
  admin: ['base', 'message', 'http', ...ledgerPorts, 'recorder/ledger-exceptions.ts'],
  cli: ['base', 'message', 'config', 'journal', 'security', 'recorder', ...ports],
  'adapters.ts': everyFolder,
  'ledgers.ts': everyFolder,
  'config-process.ts': ['base', 'config'],
  'worker-thread.ts': ['base'],
  'delivery.ts': [...everyFolder, 'adapters.ts'],
  'delivery-thread.ts': [...everyFolder, 'delivery.ts', 'worker-thread.ts'],
  'delivery-worker.ts': [...everyFolder, 'delivery.ts', 'delivery-thread.ts', 'worker-thread.ts'],
  'recording.ts': [...everyFolder, 'delivery.ts', 'ledgers.ts'],
  'recording-thread.ts': [...everyFolder, 'delivery.ts', 'recording.ts', 'worker-thread.ts'],
  'recording-worker.ts': [...everyFolder, 'recording.ts', 'recording-thread.ts', 'worker-thread.ts'],
  'journal-guard.ts': everyFolder,
  'sidecar.ts': [
    ...everyFolder,
    'journal-guard.ts',
    'delivery.ts',
    'delivery-thread.ts',
    'recording.ts',
    'recording-thread.ts',
  ],
  'main.ts': [
    ...everyFolder,
    'cli',
    'adapters.ts',
    'ledgers.ts',
    'config-process.ts',
    'delivery-thread.ts',
    'delivery-worker.ts',
    'recording.ts',
    'recording-thread.ts',
    'recording-worker.ts',
    'sidecar.ts',
  ],
}

/** Packages and modules of Node that have one home: only files whose path begins so may import them. */
const homes: Readonly<Record<string, readonly string[]>> = {
  kafkajs: ['kafka/'],
  mysql2: ['mysql/'],
  'cassandra-driver': ['cassandra/'],
  snappyjs: ['kafka/'],
  cockatiel: ['base/resilience'],
  pino: ['base/log'],
  'prom-client': ['admin/'],
  yaml: ['config/'],
  zod: ['config/'],
  commander: ['main.ts', 'cli/'],
  'node:sqlite': ['embedded/', 'journal/'],
  'node:process': ['main.ts', 'cli/'],
}

/** Where the process and its terminal may be touched. */
const processHomes = ['main.ts', 'cli/']

describe('the layers of src/', () => {
  const sources = new Map(
    globSync('**/*.ts', { cwd: src })
      .toSorted()
      .map((path) => [path, readFileSync(join(src, path), 'utf8')]),
  )
  const files = [...sources].map(([path, text]) => readSource(path, text))

  test('were seen: files, and imports between folders', () => {
    const crossing = files.flatMap((file) => edgesOf(file))
    expect(files.length).toBeGreaterThan(5)
    expect(crossing.length).toBeGreaterThan(5)
    expect(crossing).toContainEqual({ from: 'forwarder', to: 'base' })
  })

  test.each(rules())('$name', ({ check }) => {
    expect(files.flatMap(check)).toEqual([])
  })

  test('have no cycle among them', () => {
    expect(cycleIn(files.flatMap((file) => edgesOf(file)))).toBeNull()
  })
})

describe('the guard of the layers', () => {
  test.each([
    ['an edge that is not in the table', 'intake/a.ts', "import { b } from '../journal/b.ts'"],
    ['an edge of types alone', 'intake/a.ts', "import type { B } from '../journal/b.ts'"],
    ['an edge by a dynamic import', 'intake/a.ts', "export const b = await import('../journal/b.ts')"],
    ['an edge by a re-export', 'intake/a.ts', "export { b } from '../journal/b.ts'\nexport const c = 1"],
    ['an edge by an import type', 'intake/a.ts', "export type B = import('../journal/b.ts').B"],
    ['more of a folder than its port', 'kafka/a.ts', "import { b } from '../forwarder/forwarder.ts'"],
    ['a folder that is not in the table', 'helpers/a.ts', 'export const a = 1'],
    ['a way out of src', 'kafka/a.ts', "import { b } from '../../test/b.ts'"],
    ['an import that the table does not know', 'kafka/a.ts', "import { b } from 'src/b.ts'; await import(b)"],
    ['a driver away from its home', 'intake/a.ts', "import { Kafka } from 'kafkajs'"],
    ['a part of a driver away from its home', 'intake/a.ts', "import { a } from 'kafkajs/src/index.js'"],
    ['process away from its home', 'intake/a.ts', 'export const a = process.env.A'],
    ['process by another way', 'intake/a.ts', 'export const a = globalThis.process.pid'],
    ['console away from its home', 'base/a.ts', "console.log('a')"],
    ['a default export', 'base/a.ts', 'export default 1'],
    ['a barrel by name', 'base/index.ts', 'export const a = 1'],
    ['a barrel by content', 'base/a.ts', "export { b } from './b.ts'"],
    ['a star export', 'base/a.ts', "export * from './b.ts'\nexport const a = 1"],
  ])('sees %s', (_, path, text) => {
    const file = readSource(path, text)
    expect(rules().flatMap(({ check }) => check(file))).not.toEqual([])
  })

  test('lets through what is allowed', () => {
    const file = readSource(
      'kafka/a.ts',
      `import { Kafka } from 'kafkajs'
       import { b } from './b.ts'
       import { OutriggerError } from '../base/errors.ts'
       import type { Broker } from '../forwarder/broker.ts'
       export const a = (child: { process: { pid: number } }) => child.process.pid`,
    )
    expect(rules().flatMap(({ check }) => check(file))).toEqual([])
  })

  test('sees a cycle', () => {
    const edges = [
      { from: 'a', to: 'b' },
      { from: 'b', to: 'c' },
      { from: 'c', to: 'a' },
    ]
    expect(cycleIn(edges)).toEqual(['a', 'b', 'c', 'a'])
    expect(cycleIn(edges.slice(0, 2))).toBeNull()
  })
})

interface SourceFile {
  readonly path: string
  /** What it imports, types included: a path below `src/`, or a module's name. */
  readonly imports: readonly string[]
  /** Import expressions whose target can't be read off. */
  readonly computedImports: number
  /** `process` and `console`, where they are more than the name of a property. */
  readonly globals: readonly string[]
  readonly exports: readonly {
    /** null for `export *`. */
    readonly name: string | null
    readonly from: string | null
  }[]
}

interface Rule {
  readonly name: string
  readonly check: (file: SourceFile) => readonly string[]
}

function rules(): Rule[] {
  return [
    {
      name: 'import only what the table allows',
      check: (file) => {
        const allowed = allowedEdges[layerOf(file.path)]
        if (!allowed) return [`${file.path} is in no layer of the table`]
        return file.imports
          .filter((to) => isOurs(to) && layerOf(to) !== layerOf(file.path))
          .filter((to) => !allowed.includes(layerOf(to)) && !allowed.includes(to) && to !== '../package.json')
          .map((to) => `${file.path} → ${to}`)
      },
    },
    {
      name: 'name what they import',
      check: (file) => (file.computedImports > 0 ? [`${file.path} has a computed import`] : []),
    },
    {
      name: 'use a driver only in its home',
      check: (file) =>
        file.imports
          .filter((to) => homes[packageOf(to)]?.every((home) => !file.path.startsWith(home)))
          .map((to) => `${file.path} → ${to}`),
    },
    {
      name: 'touch the process and the console only in main.ts and cli/',
      check: (file) =>
        processHomes.some((home) => file.path.startsWith(home))
          ? []
          : file.globals.map((name) => `${file.path} uses ${name}`),
    },
    {
      name: 'have named exports only',
      check: (file) =>
        file.exports.some(({ name }) => name === 'default') ? [`${file.path} has a default export`] : [],
    },
    {
      name: 'have no barrels',
      check: ({ path, exports }) =>
        basename(path) === 'index.ts' ||
        exports.some(({ name }) => name === null) ||
        (exports.length > 0 && exports.every(({ from }) => from !== null))
          ? [`${path} is a barrel`]
          : [],
    },
  ]
}

/** Reads what matters here from a file's syntax tree. */
function readSource(path: string, text: string): SourceFile {
  const { program, module, errors } = parseSync(path, text)
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`)
  const requests = [
    ...module.staticImports.map((statement) => statement.moduleRequest.value),
    ...module.staticExports.flatMap((statement) => statement.entries.map((entry) => entry.moduleRequest?.value)),
  ].filter((request) => request !== undefined)
  const globals = new Set<string>()
  const propertyNames = new Set<number>()
  const isProperty = ({ key, computed }: { key: { start: number }; computed: boolean }): void => {
    if (!computed) propertyNames.add(key.start)
  }
  let computedImports = 0
  new Visitor({
    ImportExpression({ source }) {
      if (source.type === 'Literal' && typeof source.value === 'string') requests.push(source.value)
      else computedImports++
    },
    TSImportType({ source }) {
      requests.push(source.value)
    },
    MemberExpression({ object, property, computed }) {
      const ofGlobal = object.type === 'Identifier' && object.name === 'globalThis'
      if (!computed && !ofGlobal) propertyNames.add(property.start)
    },
    Property: ({ key, computed, shorthand }) => isProperty({ key, computed: computed || shorthand }),
    PropertyDefinition: isProperty,
    MethodDefinition: isProperty,
    TSPropertySignature: isProperty,
    TSMethodSignature: isProperty,
    Identifier({ name, start }) {
      if ((name === 'process' || name === 'console') && !propertyNames.has(start)) globals.add(name)
    },
  }).visit(program)
  return {
    path,
    imports: requests.map((request) => (request.startsWith('.') ? normalize(join(dirname(path), request)) : request)),
    computedImports,
    globals: [...globals],
    exports: module.staticExports.flatMap((statement) =>
      statement.entries.map(({ exportName, moduleRequest }) => ({
        name: (exportName.kind as string) === 'Default' ? 'default' : exportName.name,
        from: moduleRequest?.value ?? null,
      })),
    ),
  }
}

/** A folder of `src/`, or a file directly in it. */
function layerOf(path: string): string {
  return path.split('/')[0] as string
}

function isOurs(request: string): boolean {
  return request.endsWith('.ts') || request.startsWith('..')
}

function packageOf(request: string): string {
  return request
    .split('/')
    .slice(0, request.startsWith('@') ? 2 : 1)
    .join('/')
}

interface Edge {
  readonly from: string
  readonly to: string
}

function edgesOf(file: SourceFile): Edge[] {
  return file.imports
    .filter((to) => isOurs(to) && layerOf(to) !== layerOf(file.path))
    .map((to) => ({ from: layerOf(file.path), to: layerOf(to) }))
}

/** A cycle, as the layers on it, or null. */
function cycleIn(edges: readonly Edge[]): string[] | null {
  const next = Map.groupBy(edges, ({ from }) => from)
  const done = new Set<string>()
  const walk = (layer: string, path: readonly string[]): string[] | null => {
    if (path.includes(layer)) return [...path.slice(path.indexOf(layer)), layer]
    if (done.has(layer)) return null
    for (const { to } of next.get(layer) ?? []) {
      const cycle = walk(to, [...path, layer])
      if (cycle) return cycle
    }
    done.add(layer)
    return null
  }
  for (const layer of next.keys()) {
    const cycle = walk(layer, [])
    if (cycle) return cycle
  }
  return null
}
