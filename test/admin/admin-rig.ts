import { request } from 'node:http'
import type { AdminSource } from '../../src/admin/admin-api.ts'
import { adminApi } from '../../src/admin/admin-api.ts'
import type { LedgerView } from '../../src/admin/ledger-api.ts'
import type { StoreName } from '../../src/recorder/store-name.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { UnavailableError } from '../../src/base/errors.ts'
import { HttpListener } from '../../src/http/http-listener.ts'
import type { NumberedException } from '../../src/recorder/ledger-exceptions.ts'
import { FakeMessageLog } from '../recorder/fake-message-log.ts'
import { FakeMetadataStore } from '../recorder/fake-metadata-store.ts'

const never = new AbortController().signal

/** A ledger in memory, as operators see it. */
class FakeLedgerView implements LedgerView {
  stores: readonly StoreName[] = ['metadata', 'log']
  /** When set, nothing can be asked. */
  failure: UnavailableError | null = null
  readonly metadata = new FakeMetadataStore()
  readonly log = new FakeMessageLog()
  readonly noted = new Map<StoreName, NumberedException[]>()

  find(position: { journalId: string; seq: number }) {
    return this.#asked(() => this.metadata.find(position.journalId, position.seq, never))
  }

  list(query: Parameters<LedgerView['list']>[0]) {
    return this.#asked(() => this.metadata.list(query, never))
  }

  /** The bytes as they come from another thread. */
  content(position: { journalId: string; seq: number }) {
    return this.#asked(async () => {
      const row = await this.metadata.find(position.journalId, position.seq, never)
      if (row === null || row.partition === null || row.offset === null) return null
      return structuredClone(await this.log.read(row.topic, row.partition, row.offset, never))
    })
  }

  exceptions(store: StoreName, after: number, limit: number) {
    return this.#asked(async () => (this.noted.get(store) ?? []).filter(({ number }) => number > after).slice(0, limit))
  }

  async #asked<T>(ask: () => Promise<T>): Promise<T> {
    if (this.failure !== null) throw this.failure
    return ask()
  }
}

export interface AdminAnswer {
  readonly status: number
  /** Names in lower case; each character of a value stands for a byte. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
  readonly json: unknown
}

/** The operator's listener on a free port, over a ledger in memory. */
export class AdminRig implements AsyncDisposable {
  readonly ledger = new FakeLedgerView()
  readonly failures: unknown[] = []
  /** What keeps it from being alive, and from being ready. */
  readonly obstacles: { alive: string[]; ready: string[] } = { alive: [], ready: [] }
  readonly #listener: HttpListener

  private constructor() {
    const source: AdminSource = {
      liveness: () => this.obstacles.alive,
      readiness: () => this.obstacles.ready,
      metrics: () => Promise.resolve('# none\n'),
      status: () => Promise.resolve({ state: 'ready' }),
      deadLetters: () => Promise.resolve([]),
      ledger: this.ledger,
    }
    const handler = adminApi(source, (error) => this.failures.push(error))
    const address = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const
    this.#listener = new HttpListener(address, handler, systemClock, null, {
      socketMode: 0o660,
      allowedHosts: [],
      headersMax: 100,
      headerBytesMax: 16 * 1024,
      connectionsMax: 10,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      keepAliveTimeout: 75_000,
    })
  }

  static async start(): Promise<AdminRig> {
    const rig = new AdminRig()
    await rig.#listener.start()
    return rig
  }

  get(path: string, method = 'GET'): Promise<AdminAnswer> {
    const { port } = this.#listener.address as { port: number }
    return new Promise((resolve, reject) => {
      const asking = request({ host: '127.0.0.1', port, path, method, agent: false }, (response) => {
        response.toArray().then((chunks: Buffer[]) => {
          const { rawHeaders, statusCode = 0 } = response
          const headers = new Map<string, string>()
          for (let i = 0; i < rawHeaders.length; i += 2) {
            const name = (rawHeaders[i] as string).toLowerCase()
            const before = headers.get(name)
            headers.set(name, before === undefined ? (rawHeaders[i + 1] as string) : `${before}, ${rawHeaders[i + 1]}`)
          }
          const body = Buffer.concat(chunks)
          const isJson = /\bjson$/.test(headers.get('content-type') ?? '') && body.length > 0
          resolve({ status: statusCode, headers, body, json: isJson ? JSON.parse(body.toString()) : null })
        }, reject)
      })
      asking.on('error', reject)
      asking.end()
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#listener.destroy()
  }
}
