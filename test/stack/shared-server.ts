import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inject, type TestContext } from 'vitest'
import { messageOf } from '../../src/base/errors.ts'
import { runsInCi } from './shared-kafka.ts'

/** A server that tests share, by plain data; or why there is none. */
export type SharedServer<Access> =
  { readonly access: Access; readonly unavailable: null } | { readonly access: null; readonly unavailable: string }

/** A server that was just started, or one that was given, which `stop` leaves alone. */
export interface StartedServer {
  /** Plain data. */
  readonly access: object
  stop(): Promise<void>
}

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the test run's `SharedServers` listen; use `sharedServer`. */
    sharedServersPort: number
  }
}

/**
 * Servers that are started when the first test asks for them, shared by all tests of the run, and stopped at its end.
 * They belong to the run's main process, which answers the processes of the tests by HTTP.
 */
export class SharedServers {
  readonly #starters: Readonly<Record<string, () => Promise<StartedServer>>>
  readonly #unavailable: (name: string, error: unknown) => void
  readonly #started = new Map<string, Promise<StartedServer>>()
  readonly #http: Server

  /** `unavailable` hears, once each, of what could not be started. */
  constructor(
    starters: Readonly<Record<string, () => Promise<StartedServer>>>,
    unavailable: (name: string, error: unknown) => void,
  ) {
    this.#starters = starters
    this.#unavailable = unavailable
    this.#http = createServer((request, response) => {
      void this.#answer((request.url ?? '').slice(1)).then((answer) => response.end(JSON.stringify(answer)))
    })
  }

  /** Resolves with the port on which the tests may ask. */
  async listen(): Promise<number> {
    this.#http.listen(0, '127.0.0.1')
    await once(this.#http, 'listening')
    return (this.#http.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    this.#http.close()
    this.#http.closeAllConnections()
    const started = await Promise.allSettled(this.#started.values())
    const running = started.filter((result) => result.status === 'fulfilled')
    await Promise.all(running.map(({ value }) => value.stop()))
  }

  async #answer(name: string): Promise<SharedServer<object>> {
    try {
      const { access } = await this.#start(name)
      return { access, unavailable: null }
    } catch (error) {
      return { access: null, unavailable: messageOf(error) }
    }
  }

  #start(name: string): Promise<StartedServer> {
    const known = this.#started.get(name)
    if (known !== undefined) return known
    const starter = this.#starters[name]
    if (starter === undefined) return Promise.reject(new Error(`no test server is named ${name}`))
    const starting = starter()
    this.#started.set(name, starting)
    starting.catch((error: unknown) => this.#unavailable(name, error))
    return starting
  }
}

/**
 * The run's one server of that name, started now if it was not yet. Await it at the top of a test file, and skip where
 * it is unavailable; in CI it throws instead.
 */
export async function sharedServer<Access extends object>(name: string): Promise<SharedServer<Access>> {
  const port = inject('sharedServersPort') as number | undefined
  if (port === undefined) {
    throw new Error(`${name} is not offered: this test's project needs globalSetup: ['test/stack/global-setup.ts']`)
  }
  const answer = await fetch(`http://127.0.0.1:${port}/${name}`)
  const shared = (await answer.json()) as SharedServer<Access>
  if (shared.access === null && runsInCi()) throw new Error(`real ${name} is needed in CI: ${shared.unavailable}`)
  return shared
}

/** The same from within a test, which is skipped with the reason where the server can't be had. */
export async function requireSharedServer<Access extends object>(
  context: Pick<TestContext, 'skip'>,
  name: string,
): Promise<Access> {
  const shared = await sharedServer<Access>(name)
  return shared.access ?? context.skip(`needs real ${name}: ${shared.unavailable}`)
}
