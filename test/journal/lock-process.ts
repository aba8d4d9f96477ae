import { codeOf } from '../../src/base/errors.ts'
import { DirectoryLock } from '../../src/journal/directory-lock.ts'

/** Takes the lock of a directory, says how that went, and stays until its standard input ends or it is killed. */
let said = 'taken'
try {
  DirectoryLock.take(process.argv[2] as string)
} catch (error) {
  said = codeOf(error) ?? String(error)
}
process.stdout.write(`${said}\n`)
process.stdin.resume()
