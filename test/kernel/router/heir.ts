/** A process that puts a router in the place of another: prints whether it took over, or might not. See inherit.test.ts. */
import { Router, type RouterOptions } from '../../../src/kernel/router/router.ts';

const router = new Router(JSON.parse(process.argv[2]) as RouterOptions);
router.attach();
process.stdout.write(JSON.stringify({ inherited: router.inherited, disinherited: router.disinherited }));
router.close();
