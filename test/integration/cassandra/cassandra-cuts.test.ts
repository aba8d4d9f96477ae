import { describeWithServer } from '../../stack/describe-with-server.ts'
import { Client } from 'cassandra-driver'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { sharedCassandra } from '../../stack/shared-cassandra.ts'
import { logOptions, migratedLog, never } from './cassandra-test-log.ts'

const { access } = await sharedCassandra()

/** Stands before a node, and may drop every nth answer together with its connection. */
class CuttingProxy {
  /** How many answers until the next cut; 0: it cuts nothing. */
  every = 0
  cuts = 0
  readonly open = new Set<Socket>()
  readonly #server
  #answers = 0

  constructor(host: string, port: number) {
    this.#server = createServer((near) => {
      const far = connect(port, host)
      const end = (): void => {
        near.destroy()
        far.destroy()
        this.open.delete(near)
      }
      this.open.add(near)
      for (const socket of [near, far]) socket.on('error', end).on('close', end)
      near.on('data', (bytes) => far.write(bytes))
      far.on('data', (bytes) => {
        if (this.every > 0 && ++this.#answers % this.every === 0) {
          this.cuts++
          end()
        } else near.write(bytes)
      })
    })
    onTestFinished(() => {
      this.cutAll()
      this.#server.close()
    })
  }

  cutAll(): void {
    for (const socket of this.open) socket.destroy()
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }
}

describeWithServer(access !== null, 'a network that cuts connections to real Cassandra', () => {
  test('costs neither the process nor connections that stay', { timeout: 60_000 }, async () => {
    const options = logOptions(access!)
    const log = await migratedLog(options)
    onTestFinished(async () => {
      await log.close()
      const client = new Client({ contactPoints: [...options.contactPoints], localDataCenter: options.localDataCenter })
      await client.execute(`DROP KEYSPACE ${options.keyspace}`)
      await client.shutdown()
    })
    const [host = '', port = ''] = (options.contactPoints[0] ?? '').split(':')
    const proxy = new CuttingProxy(host, Number(port))
    const contactPoints = [await proxy.listen()]
    const url = (path: string) => JSON.stringify(new URL(`../../../${path}`, import.meta.url).href)
    const { password: _, ...plain } = options
    // In a process of its own: what nobody listens to ends it.
    const program = `
      import { CassandraMessageLog } from ${url('src/cassandra/cassandra-message-log.ts')}
      import { systemClock } from ${url('src/base/clock.ts')}
      import { silentLog } from ${url('src/base/log.ts')}
      import { logEntry } from ${url('test/recorder/message-log-contract.ts')}
      const options = ${JSON.stringify({ ...plain, contactPoints, requestTimeout: 2000 })}
      const log = new CassandraMessageLog(systemClock, silentLog, { ...options, password: async () => undefined })
      let written = 0
      let isEnding = false
      process.stdin.on('data', (data) => (isEnding = String(data) === 'end'))
      const write = async (worker) => {
        for (let offset = 0; !isEnding; offset++) {
          const entry = logEntry({ topic: 'cut', partition: worker, offset, value: Buffer.alloc(2000), deliveredAt: Date.now() })
          await log.write([entry], Date.now(), AbortSignal.timeout(3000)).then(
            () => written++,
            (error) => { if (!['transient', undefined].includes(error.failure)) console.log(error.failure, error.reason) },
          )
          await systemClock.sleep(20)
        }
      }
      const report = setInterval(() => console.log('written', written), 250)
      await Promise.all([0, 1, 2].map(write))
      clearInterval(report)
      await log.close()
      // The driver may leave a heartbeat behind on a connection that was cut.
      process.exit()`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'pipe' })
    onTestFinished(() => void child.kill('SIGKILL'))
    let output = ''
    let errors = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
    const closed = once(child, 'close')
    const written = (): number => Number(/.*written (\d+)/s.exec(output)?.[1] ?? 0)
    await expect.poll(written, { timeout: 15_000 }).toBeGreaterThan(0)
    let openMax = 0
    const watch = setInterval(() => (openMax = Math.max(openMax, proxy.open.size)), 20)
    onTestFinished(() => clearInterval(watch))
    for (const every of [40, 7, 11]) {
      proxy.every = every
      for (let i = 0; i < 3; i++) {
        await systemClock.sleep(500)
        proxy.cutAll()
      }
    }
    proxy.every = 0
    expect(errors).toBe('')
    const before = written()
    await expect.poll(written, { timeout: 20_000 }).toBeGreaterThan(before + 100)
    expect(proxy.cuts).toBeGreaterThan(0)
    // One for the node. While cuts last, none is kept beside those that come.
    expect(proxy.open.size).toBeLessThanOrEqual(2)
    expect(openMax).toBeLessThanOrEqual(3)
    child.stdin.end('end')
    expect(await closed).toEqual([0, null])
    expect(errors).toBe('')
    expect(output).not.toMatch(/fatal|permanent/)
    expect(await log.list('cut', 0, 0, 10, never)).toHaveLength(10)
  })
})
