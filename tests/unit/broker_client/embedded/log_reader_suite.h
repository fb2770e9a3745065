/*
 * What the log reader does in either world; log_reader_suite.c.
 */
#ifndef PENSTOCK_TESTS_UNIT_LOG_READER_SUITE_H
#define PENSTOCK_TESTS_UNIT_LOG_READER_SUITE_H

/* The result of cmocka. */
int log_reader_suite_run(void);

#endif
