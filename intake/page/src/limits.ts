// Every bound the page keeps to: the same numbers as ballot/limits.py, which a test compares.

export const DOCUMENT_BYTES_MAX = 512 * 1024;
export const JSON_DEPTH_MAX = 8;
export const ID_CHARS_MAX = 40;
export const TEXT_CHARS_MAX = 4000;
export const QUESTIONS_MAX = 40;
export const OPTIONS_MAX = 200;
export const PADDED_BYTES_UNIT = 64;
export const PADDED_BYTES_MAX = 32 * 1024;
export const COMPLAINT_BYTES_MAX = 4096;
export const RECEIPT_PATH_STEPS_MAX = 16;
