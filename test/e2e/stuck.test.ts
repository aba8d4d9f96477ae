import { request } from 'node:http'
import { rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { ProcessEnd } from '../stack/supervised-processes.ts'
import { Program } from './program.ts'
import { Publisher } from './publisher.ts'

/** Loads a module that does `what` as soon as the file `name` appears in the program's folder. */
function onDemand(name: string, inMainThread: boolean, what: string): string {
  const module = `
    import fs from 'node:fs'
    import { isMainThread } from 'node:worker_threads'
    const demanded = () => fs.existsSync(${JSON.stringify(name)})
    if (isMainThread === ${inMainThread}) { ${what} }`
  return `--import=data:text/javascript,${encodeURIComponent(module)}`
}

const hangs = onDemand(
  'hang',
  false,
  'setInterval(() => { if (demanded()) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) }, 20).unref()',
)
const hasFullDisk = onDemand(
  'full',
  true,
  `const write = fs.write
   fs.write = (...args) => {
     if (demanded()) args.at(-1)(Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }))
     else write(...args)
   }`,
)

async function publish(program: Program): Promise<number> {
  const publisher = new Publisher(program.tcp)
  const { status } = await publisher.publish({ topic: 'greetings', headers: {}, body: Buffer.from('hello') })
  publisher.close()
  return status
}

/** SIGTERM; how it ended, and after how long. */
async function stopped(program: Program): Promise<ProcessEnd & { readonly seconds: number }> {
  const begun = performance.now()
  const end = await program.stop()
  return { ...end, seconds: (performance.now() - begun) / 1000 }
}

async function lastLine(program: Program): Promise<Record<string, unknown>> {
  return JSON.parse((await program.log()).trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>
}

describe('the drain deadline', () => {
  test('is kept to three seconds when Kafka takes connections and never answers', async () => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => void sockets.push(socket.on('error', () => {})))
    await new Promise<void>((resolve) => void silent.listen(0, '127.0.0.1', resolve))
    const { port } = silent.address() as AddressInfo
    try {
      await using program = await Program.start({
        settings: {
          OUTRIGGER_BROKER: 'kafka',
          OUTRIGGER_KAFKA_BROKERS: `127.0.0.1:${port}`,
          OUTRIGGER_DRAIN_DEADLINE: '1s',
        },
      })
      expect(await publish(program)).toBe(202)
      await expect.poll(() => sockets.length).toBeGreaterThan(0)
      const { code, seconds } = await stopped(program)
      expect(code).toBe(0)
      expect(seconds).toBeGreaterThan(1)
      expect(seconds).toBeLessThan(4)
    } finally {
      for (const socket of sockets) socket.destroy()
      silent.close()
    }
  })

  test('is kept to three seconds when a thread hangs for good', async () => {
    await using program = await Program.prepare({
      nodeOptions: [hangs],
      settings: { OUTRIGGER_DRAIN_DEADLINE: '500ms' },
    })
    await program.start()
    expect(await publish(program)).toBe(202)
    await program.file('hang', '')
    await sleep(300)
    const { code, seconds } = await stopped(program)
    expect(code).toBe(1)
    expect(seconds).toBeGreaterThan(0.5)
    expect(seconds).toBeLessThan(3.5)
    expect(await program.log()).toContain('not everything could be closed in time')
  })

  test('is not waited for by a publisher that never ends its request, who is told', async () => {
    await using program = await Program.start({ settings: { OUTRIGGER_DRAIN_DEADLINE: '20s' } })
    const headers = { 'Content-Length': 100 }
    const answered = Promise.withResolvers<string>()
    const sending = request({ ...program.tcp, method: 'POST', path: '/topics/greetings', headers }, (response) => {
      void response
        .setEncoding('utf8')
        .toArray()
        .then((texts) => answered.resolve(`${response.statusCode} ${texts.join('')}`))
    })
    sending.on('error', answered.reject)
    sending.write('hello')
    await sleep(200)
    const stopping = stopped(program)
    expect(await answered.promise).toMatch(/^503 .*"code":"draining"/)
    const { code, seconds } = await stopping
    expect(code).toBe(0)
    expect(seconds).toBeGreaterThan(4)
    expect(seconds).toBeLessThan(9)
  })
})

describe('a thread that can not start', () => {
  test.each(['forwarder.cursor', 'ledger/log.cursor'])(
    '(%s is corrupt) has the last word, and it says why',
    async (file) => {
      await using program = await Program.start()
      await program.stop()
      const path = join('data', file)
      await program.file(path, 'garbage')
      await expect(program.start()).rejects.toThrow(/exit code 1/)
      const log = await program.log()
      expect(await lastLine(program)).toMatchObject({
        level: 'error',
        message: 'Outrigger can not start',
        error: { message: expect.stringContaining(`${file} is corrupt`) as string },
        hint: expect.stringContaining('Move it away') as string,
      })
      expect(log).not.toContain('something could not be closed')
      expect(log.split('"level":"error"').length).toBe(2)
    },
  )
})

test('/readyz says that the journal can not be written as long as that is so, though nobody publishes any more', async () => {
  await using program = await Program.prepare({ nodeOptions: [hasFullDisk] })
  await program.start()
  expect(await program.ask('/readyz')).toBe('ready\n')
  const demand = await program.file('full', '')
  expect(await publish(program)).toBe(503)
  await expect(program.ask('/readyz')).rejects.toThrow(/journal can't be written: ENOSPC/)
  await sleep(600)
  await expect(program.ask('/readyz')).rejects.toThrow(/journal can't be written: ENOSPC/)
  expect(await program.status()).toMatchObject({ journal: { failure: expect.stringContaining('ENOSPC') as string } })
  expect(await program.ask('/livez')).toBe('ok\n')
  await rm(demand)
  await expect.poll(() => program.ask('/readyz').catch(() => 'not yet'), { timeout: 5000 }).toBe('ready\n')
  expect(await publish(program)).toBe(202)
  await program.drained()
  await program.stop()
})
