/** A lab that cannot be built, found or used. The message says what to do. */
export type LabErrorCode =
  | 'LAB_OPTION'
  | 'LAB_NOT_ROOT'
  | 'LAB_NOT_UP'
  | 'LAB_BUSY'
  | 'LAB_COMMAND'
  | 'LAB_NOT_READY';

export class LabError extends Error {
  override readonly name = 'LabError';
  readonly code: LabErrorCode;

  constructor(code: LabErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
