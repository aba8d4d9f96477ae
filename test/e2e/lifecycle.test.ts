import { existsSync } from 'node:fs'
import { request } from 'node:http'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { ConsumedRecord } from '../../src/subscriptions/consumer.ts'
import { answers } from '../stack/ports.ts'
import { EmbeddedOutage, readEmbedded } from './embedded-records.ts'
import { get, Program } from './program.ts'
import { Publisher } from './publisher.ts'

describe('SIGTERM', () => {
  test('lets everything that was accepted be delivered, and ends with 0', async () => {
    await using program = await Program.start()
    using outage = EmbeddedOutage.begin(program.brokerFile)
    const ids = await publish(program, 200)
    expect((await program.status()).delivery.backlogMessages).toBe(200)
    program.signal('SIGTERM')
    await untilRefused(program)
    await sleep(300)
    expect(program.isRunning).toBe(true)
    outage.end()
    expect(await program.ended()).toEqual({ code: 0, signal: null })
    expect(idsInBroker(program)).toEqual(ids)
    expect(existsSync(program.unix.socketPath)).toBe(false)
  })

  test('waits no longer than the drain deadline, and what is left is delivered after the next start', async () => {
    await using program = await Program.start({ settings: { OUTRIGGER_DRAIN_DEADLINE: '500ms' } })
    using outage = EmbeddedOutage.begin(program.brokerFile)
    const ids = await publish(program, 50)
    expect(await program.stop()).toEqual({ code: 0, signal: null })
    outage.end()
    expect(idsInBroker(program)).toEqual([])
    await program.start()
    await program.drained()
    expect(idsInBroker(program)).toEqual(ids)
  })

  test('answers the request that is under way, and ends the connection', async () => {
    await using program = await Program.start()
    const { promise: answered, resolve, reject } = Promise.withResolvers<string>()
    const headers = { 'Content-Length': 5 }
    const sending = request({ ...program.tcp, method: 'POST', path: '/topics/greetings', headers }, (response) => {
      let body = `${response.statusCode} ${response.headers.connection} `
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text
      })
      response.on('end', () => resolve(body))
    })
    sending.on('error', reject)
    sending.write('hel')
    await sleep(200)
    program.signal('SIGTERM')
    await untilRefused(program)
    sending.end('lo')
    expect(await answered).toMatch(/^202 close \{"id":"/)
    expect(await program.ended()).toEqual({ code: 0, signal: null })
    expect(idsInBroker(program).length).toBe(1)
  })

  test('is quick when there is nothing to do', async () => {
    await using program = await Program.start()
    const begun = performance.now()
    await program.stop()
    // Its own waits end when there is nothing to wait for; the slack is for a busy machine.
    expect(performance.now() - begun).toBeLessThan(2500)
  })

  test('a second time ends it at once, and nothing is lost', async () => {
    await using program = await Program.start()
    using outage = EmbeddedOutage.begin(program.brokerFile)
    const ids = await publish(program, 50)
    program.signal('SIGTERM')
    await untilRefused(program)
    program.signal('SIGINT')
    expect(await program.ended()).toEqual({ code: 1, signal: null })
    outage.end()
    await program.start()
    await program.drained()
    expect(idsInBroker(program)).toEqual(ids)
  })
})

describe('a restart', () => {
  test('keeps everything: messages that wait, what became of others, the order of numbers', async () => {
    await using program = await Program.start()
    const first = await publish(program, 20)
    await program.drained()
    await program.stop()
    await program.start()
    const outage = EmbeddedOutage.begin(program.brokerFile)
    const second = await publish(program, 20)
    await program.kill()
    await program.start()
    expect((await program.status()).delivery.backlogMessages).toBe(20)
    expect(await fateOf(program, second[0])).toMatchObject({ state: 'accepted' })
    outage.end()
    await program.drained()
    expect(await fateOf(program, first[0])).toMatchObject({ state: 'delivered', topic: 'greetings', attempts: 1 })
    expect(await fateOf(program, second[19])).toMatchObject({ state: 'delivered', topic: 'greetings' })
    const third = await publish(program, 1)
    await program.drained()
    expect(idsInBroker(program)).toEqual([...first, ...second, ...third])
    const [journalId, ...others] = new Set([...first, ...second, ...third].map((id) => id.split('-')[0]))
    expect(others).toEqual([])
    expect((await program.status()).journal).toMatchObject({ id: journalId, nextSeq: 42 })
  })

  test('takes no notice of a socket file that a kill has left behind', async () => {
    await using program = await Program.start()
    await program.kill()
    expect(existsSync(program.unix.socketPath)).toBe(true)
    await program.start()
    const publisher = new Publisher(program.unix)
    const { status } = await publisher.publish({ topic: 'greetings', headers: {}, body: Buffer.from('hello') })
    publisher.close()
    expect(status).toBe(202)
  })
})

describe('an unexpected error', () => {
  test.each(['the accepting thread', 'the delivering thread'])(
    'in %s is logged, ends the process, and loses nothing',
    async (thread) => {
      await using program = await Program.prepare({ nodeOptions: [throwsOnDemand(thread === 'the accepting thread')] })
      await program.start()
      const ids = await publish(program, 20)
      const demand = await program.file('throw', '')
      expect(await program.ended()).toEqual({ code: 1, signal: null })
      const errors = (await program.log()).split('\n').filter((line) => line.includes('"level":"error"'))
      expect(errors.join()).toContain('thrown on demand')
      await rm(demand)
      await program.start()
      await program.drained()
      expect(new Set(idsInBroker(program))).toEqual(new Set(ids))
    },
  )
})

/** An option for Node: loads a module that throws as soon as the file `throw` appears in the program's folder. */
function throwsOnDemand(inMainThread: boolean): string {
  const module = `
    import { existsSync } from 'node:fs'
    import { isMainThread } from 'node:worker_threads'
    if (isMainThread === ${inMainThread})
      setInterval(() => { if (existsSync('throw')) throw new Error('thrown on demand') }, 20).unref()`
  return `--import=data:text/javascript,${encodeURIComponent(module)}`
}

/** Publishes so many messages one after another, and gives their ids in order. */
async function publish(program: Program, count: number): Promise<string[]> {
  const publisher = new Publisher(program.tcp)
  const ids: string[] = []
  for (let i = 0; i < count; i++) {
    const headers = { 'Outrigger-Key': 'world' }
    const answer = await publisher.publish({ topic: 'greetings', headers, body: Buffer.from(`hello ${i}`) })
    expect(answer.status).toBe(202)
    ids.push((JSON.parse(answer.body) as { id: string }).id)
  }
  publisher.close()
  return ids
}

/** The ids of the records in the embedded broker, in order. */
function idsInBroker(program: Program): string[] {
  const records: ConsumedRecord[] = []
  readEmbedded(program.brokerFile, (record) => records.push(record))
  return records.map(({ headers }) => headers.find(([name]) => name === 'outrigger-id')?.[1].toString() ?? '')
}

async function fateOf(program: Program, id: string | undefined): Promise<unknown> {
  return JSON.parse(await get(program.tcp, join('/messages', id ?? '')))
}

async function untilRefused(program: Program): Promise<void> {
  const { port } = program.tcp as { port: number }
  await expect.poll(() => answers(port), { interval: 20, timeout: 5000 }).toBe(false)
}
