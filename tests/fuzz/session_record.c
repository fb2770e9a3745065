/*
 * What the store says of a durable session, in any bytes: refused, or taken and then written in a
 * form that is read as the same. The first byte chooses between the session's own record and a
 * block of filters.
 */
#include <stdlib.h>

#include "session/session_record.h"
#include "support/stored_session.h"

enum { BLOCK = 0 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static int decode(struct stored_fixture *fixture, bool is_block, const void *bytes, size_t count)
{
    struct hub *hub = &fixture->hub;
    return is_block ? session_record_block_decode(hub, &fixture->session, BLOCK, bytes, count)
                    : session_record_own_decode(hub, &fixture->session, bytes, count);
}

/* The record of what was decoded; the caller frees it. */
static unsigned char *encode(struct stored_fixture *fixture, bool is_block, size_t *out_count)
{
    const struct hub *hub = &fixture->hub;
    const struct session *session = &fixture->session;
    *out_count = is_block ? session_record_block_bytes(hub, session, BLOCK)
                          : session_record_own_bytes(hub, session);
    unsigned char *record = malloc(*out_count + (*out_count == 0));
    ps_assert(record != NULL);
    if (is_block && *out_count > 0)
        session_record_block_encode(hub, session, BLOCK, record, *out_count);
    else if (!is_block)
        session_record_own_encode(hub, session, record, *out_count);
    return record;
}

static void assert_reads_back(bool is_block, const unsigned char *record, size_t count)
{
    struct stored_fixture *again = malloc(sizeof(*again));
    ps_assert(again != NULL);
    stored_set_up(again);
    ps_assert(decode(again, is_block, record, count) == 0);
    size_t again_count = 0;
    unsigned char *again_record = encode(again, is_block, &again_count);
    ps_assert(again_count == count);
    /* Filters are kept in the opposite order of their coming: only their number is compared. */
    ps_assert(is_block || memcmp(again_record, record, count) == 0);
    free(again_record);
    stored_tear_down(again);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count == 0)
        return 0;
    bool is_block = bytes[0] % 2 == 1;
    struct stored_fixture *fixture = malloc(sizeof(*fixture));
    ps_assert(fixture != NULL);
    stored_set_up(fixture);
    uint16_t blocks = 0;
    (void)session_record_own_blocks(bytes + 1, count - 1, &blocks);
    int result = decode(fixture, is_block, bytes + 1, count - 1);
    ps_assert(result == 0 || result == -EBADMSG);
    if (result == 0) {
        size_t record_count = 0;
        unsigned char *record = encode(fixture, is_block, &record_count);
        if (record_count > 0)
            assert_reads_back(is_block, record, record_count);
        free(record);
    }
    stored_tear_down(fixture);
    free(fixture);
    return 0;
}
