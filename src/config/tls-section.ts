import * as z from 'zod'
import { MiB } from './quantities.ts'
import { path, secret, text } from './setting.ts'

/** What the descriptions say of the connection. */
interface TlsWords {
  /** Where it goes: "the brokers". */
  readonly to: string
  /** One of these: "broker". */
  readonly server: string
  /** The setting that says where they are: "kafka.brokers". */
  readonly address: string
}

/** The `tls` section of a connection to servers; its keys and rules are the same for all. */
export const tlsSection = (words: TlsWords) =>
  z
    .preprocess(
      // `tls: true` is TLS with the system's authorities, `tls: false` is none.
      (given) => (given === true ? {} : given === false ? undefined : given),
      tlsSettings(words).optional(),
    )
    .meta({
      description: `TLS to ${words.to}: \`true\` or \`{}\` trusts the system’s certificate authorities, and the keys here say more. The ${words.server}’s certificate is always verified.`,
    })

const tlsSettings = ({ server, address }: TlsWords) =>
  z.strictObject({
    ca: text(
      'Certificates of the authorities to trust in place of the system’s, in PEM.',
      'certificates in PEM',
      MiB,
    ).optional(),
    caFile: path('Path of a file that holds `ca`. Relative to the working directory.').optional(),
    cert: text(
      'Client certificate in PEM, followed by its chain; for mutual TLS. Needs `key`.',
      'a certificate in PEM',
      MiB,
    ).optional(),
    certFile: path('Path of a file that holds `cert`.').optional(),
    key: secret('Private key of the client certificate in PEM, not encrypted.', 'a private key in PEM').optional(),
    keyFile: path('Path of a file that holds `key`, such as a mounted Kubernetes secret.').optional(),
    serverName: text(
      `Name to ask for (SNI) and to expect in the ${server}’s certificate, when it is not the name in \`${address}\`.`,
      'a host name',
      253,
    ).optional(),
  })
