import { messageOf } from '../../src/base/errors.ts'
import { findCommand, run } from './command.ts'
import { withCacheLock } from './download-cache.ts'
import { StackUnavailableError } from './errors.ts'

/**
 * Installs Debian packages where that can be done without asking anybody: as root, with apt-get. The first list that
 * can be installed as a whole is taken, since names differ between releases.
 */
export async function installDebianPackages(
  purpose: string,
  ...choices: readonly (readonly string[])[]
): Promise<void> {
  const wanted = choices[0]?.join(' ') ?? ''
  if (process.getuid?.() !== 0 || (await findCommand('apt-get')) === null) {
    throw new StackUnavailableError(`${purpose} is missing`, {
      hint: `Install it (Debian: apt-get install ${wanted}).`,
    })
  }
  await withCacheLock('apt-get', async () => {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    // Somebody else's apt-get (a machine that updates itself at boot) is waited for, not failed at.
    const patient = ['-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3']
    try {
      await run('apt-get', [...patient, 'update', '-qq'], { env })
    } catch (error) {
      throw new StackUnavailableError(`${purpose} is missing and apt-get update fails: ${messageOf(error)}`, {
        cause: error,
      })
    }
    const failures: unknown[] = []
    for (const packages of choices) {
      try {
        await run('apt-get', [...patient, 'install', '-y', '-qq', '--no-install-recommends', ...packages], { env })
        return
      } catch (error) {
        failures.push(error)
      }
    }
    throw new StackUnavailableError(
      `${purpose} is missing and can't be installed: ${failures.map(messageOf).join('; ')}`,
      { cause: failures.at(-1) },
    )
  })
}
