/** A process with both logs on standard output and standard error, for log.test.ts. Arguments: how many records. */
import { AccessLog, openProcessLog } from '../../../src/node/admin/log.ts';
import { batchOf, record } from './stand.ts';

const count = Number(process.argv[2]);
const { logger } = openProcessLog({ level: 'info', node: 'a' });
const log = new AccessLog({
  destination: '-',
  onError: (error) => logger.error({ err: error }, 'access log'),
});
for (let i = 0; i < count; i += 100)
  log.write(batchOf(Array.from({ length: 100 }, (_, j) => record({ bytes: i + j }))));
await log.close();
logger.debug('not logged at this level');
logger.info({ dropped: log.droppedLines, node: 'b', pid: 0 }, 'closed');
process.exit(0);
