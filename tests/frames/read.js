// Reads the stream at the address given, with the npm package "eventsource", until it is killed.
// A line of JSON for each event: its data and id as they came, and the data read and written
// anew by JSON, which is what JavaScript sees of it.
import { EventSource } from 'eventsource'

const source = new EventSource(process.argv[2])

source.onmessage = ({ data, lastEventId }) => {
  const seen = JSON.stringify(JSON.parse(data))
  process.stdout.write(JSON.stringify({ data, id: lastEventId, seen }) + '\n')
}
source.onerror = ({ code, message }) => console.error(code, message)
