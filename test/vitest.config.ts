import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

const root = join(import.meta.dirname, '..')

/** Folders of tests that drive real servers or the built program. */
const realThings = ['test/integration/**/*.test.ts', 'test/e2e/**/*.test.ts', 'test/chaos/**/*.test.ts']

/** Of these, those that drive the built program without any server, and measure no time. */
const withoutServers = 'test/e2e/{backup,demo,disk-faults,journal-tools,ledger,ledger-commands,log-output,lost-journal,quarantine,quota,rolled-back}.test.ts' // prettier-ignore

export default defineConfig({
  root,
  test: {
    // kafkajs arms timers with times that have passed; Node 26 says so, and means no harm.
    execArgv: ['--disable-warning=TimeoutNegativeWarning'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: realThings,
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: realThings,
          exclude: [withoutServers],
          // Starts the real servers once for the whole run, and ends them with it.
          globalSetup: ['test/stack/global-setup.ts'],
          testTimeout: 120_000,
          hookTimeout: 180_000,
          // One file after another: they share the servers, and some of them stop these.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'program',
          include: [withoutServers],
          testTimeout: 120_000,
          hookTimeout: 180_000,
          // They wait most of the time.
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
