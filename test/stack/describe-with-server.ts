import { describe } from 'vitest'
import { runsInCi } from './shared-kafka.ts'

/**
 * A suite that needs a real server. The one place where tests are skipped: on a developer's machine that can have neither
 * Docker nor packages the rest is to run all the same, and global-setup.ts has said loudly what is left out, and why. The
 * suite still counts as skipped. In CI it throws instead.
 */
export function describeWithServer(isThere: boolean, name: string, suite: () => void): void {
  if (!isThere && runsInCi()) throw new Error(`${name}: in CI this needs the real server, which is not there`)
  // oxlint-disable-next-line vitest/valid-title -- it is a string, given by the suite
  describe.skipIf(!isThere)(name, () => {
    suite()
  })
}
