import { Kafka } from 'kafkajs'
import * as fs from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { register } from 'prom-client'
import packageJson from '../../package.json' with { type: 'json' }
import { UnavailableError } from '../../src/base/errors.ts'
import { BrokerError as OurBrokerError } from '../../src/forwarder/broker.ts'

/** Of the same name as ours, so that the bundler must rename one of them. */
class BrokerError extends Error {}

/** What is bundled in test/deploy/build.test.ts: a bit of all that the real program is made of. */
async function report(): Promise<unknown> {
  // A part of its own, loaded when it is needed.
  const { systemClock } = await import('../../src/base/clock.ts')
  using database = new DatabaseSync(':memory:')
  const worker = new Worker(new URL(import.meta.url))
  const fromWorker = await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  const errors = [
    new OurBrokerError('fatal', 'REASON', 'message'),
    new UnavailableError('overloaded', 'message', { retryAfterSeconds: 1 }),
  ]
  return {
    version: packageJson.version,
    keysOfPackageJson: Object.keys(packageJson),
    errors: errors.map(({ name, code }) => ({ name, code })),
    another: new BrokerError().name,
    kafkajs: typeof new Kafka({ brokers: ['127.0.0.1:9'] }).producer,
    clock: typeof systemClock.now(),
    metrics: await register.metrics(),
    sqlite: database.prepare('SELECT 1 AS one').get(),
    file: fs.existsSync(import.meta.filename),
    fromWorker,
  }
}

if (isMainThread) console.log(JSON.stringify(await report()))
else parentPort?.postMessage('hello')
