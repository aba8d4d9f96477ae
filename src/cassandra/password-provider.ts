import { auth } from 'cassandra-driver'
import { messageOf } from '../base/errors.ts'
import type { Secret } from '../base/secret.ts'
import { StoreError } from '../recorder/store-error.ts'

type Answer = (error: unknown, token?: Buffer) => void

/** Asks for the password at each new connection, so that a changed one is taken up without a restart. */
export class PasswordProvider extends auth.PlainTextAuthProvider {
  readonly #username: string
  readonly #password: () => Promise<Secret | undefined>

  constructor(username: string, password: () => Promise<Secret | undefined>) {
    super(username, '')
    this.#username = username
    this.#password = password
  }

  override newAuthenticator(): auth.Authenticator {
    return {
      initialResponse: (answer: Answer) => void this.#respond(answer),
      // SASL PLAIN has no further round.
      evaluateChallenge: (_challenge: Buffer, answer: Answer) => answer(null),
      onAuthenticationSuccess: () => {},
    }
  }

  async #respond(answer: Answer): Promise<void> {
    let token: Buffer
    try {
      const password = await this.#password()
      token = Buffer.from(`\0${this.#username}\0${password?.reveal() ?? ''}`)
    } catch (error) {
      const hint = 'Check cassandra.passwordFile.'
      const message = `the password for Cassandra can't be had: ${messageOf(error)}`
      answer(new StoreError('fatal', 'PASSWORD_UNREADABLE', message, { cause: error, hint }))
      return
    }
    answer(null, token)
  }
}
