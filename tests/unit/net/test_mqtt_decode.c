/*
 * The decoder: frames at every split, every packet at every level, every refusal with its reason.
 * Input always ends at a page that nobody may touch.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "net/mqtt_decode.h"
#include "support/guard_page.h"
#include "support/mqtt_echo.h"
#include "support/mqtt_samples.h"

enum { PACKET_BYTES = 1024, MUTATIONS = 400 };

struct refusal {
    const char *name;
    enum mqtt_level level;
    uint8_t first_byte;
    const char *body;
    size_t body_bytes;
    enum mqtt_reason reason;
};

static int setup(void **state)
{
    static struct guard_page guard;
    guard_page_init(&guard, PACKET_BYTES);
    *state = &guard;
    return 0;
}

static int teardown(void **state)
{
    guard_page_deinit(*state);
    return 0;
}

/* Decodes one whole packet that ends at the guarded page. */
static enum mqtt_reason decode_at_guard(struct guard_page *guard, const unsigned char *bytes,
                                        size_t count, enum mqtt_level level,
                                        struct mqtt_packet *out_packet)
{
    struct mqtt_frame frame;
    const unsigned char *placed = guard_page_put(guard, bytes, count);
    enum mqtt_frame_state frame_state = mqtt_frame_find(placed, count, PACKET_BYTES, &frame);
    assert_int_equal(frame_state, MQTT_FRAME_WHOLE);
    assert_int_equal(frame.packet_bytes, count);
    return mqtt_decode(placed, &frame, level, out_packet);
}

static enum mqtt_reason decode_body(struct guard_page *guard, enum mqtt_level level,
                                    uint8_t first_byte, const void *body, size_t body_bytes,
                                    struct mqtt_packet *out_packet)
{
    unsigned char bytes[PACKET_BYTES];
    size_t count = mqtt_sample_write(first_byte, body, body_bytes, bytes, sizeof(bytes));
    return decode_at_guard(guard, bytes, count, level, out_packet);
}

static void assert_refused(struct guard_page *guard, const struct refusal *refusals, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        const struct refusal *refusal = &refusals[index];
        struct mqtt_packet packet;
        enum mqtt_reason reason = decode_body(guard, refusal->level, refusal->first_byte,
                                              refusal->body, refusal->body_bytes, &packet);
        if (reason != refusal->reason)
            fail_msg("%s: %s", refusal->name, mqtt_reason_name(reason));
    }
}

#define assert_view(view, text)                                                                    \
    do {                                                                                           \
        assert_int_equal((view).count, sizeof(text) - 1);                                          \
        assert_memory_equal((view).bytes, (text), sizeof(text) - 1);                               \
    } while (0)

static void every_sample_is_accepted_and_survives_encoding(void **state)
{
    struct guard_page *guard = *state;
    for (size_t index = 0; index < ps_array_count(mqtt_samples); index++) {
        const struct mqtt_sample *sample = &mqtt_samples[index];
        unsigned char bytes[PACKET_BYTES];
        size_t count = mqtt_sample_write(sample->first_byte, sample->body, sample->body_bytes,
                                         bytes, sizeof(bytes));
        struct mqtt_packet packet;
        enum mqtt_reason reason = decode_at_guard(guard, bytes, count, sample->level, &packet);
        if (reason != MQTT_GOOD)
            fail_msg("%s: %s", sample->name, mqtt_reason_name(reason));
        assert_int_equal(packet.type, sample->first_byte >> 4);
        const unsigned char *placed = guard->end - count;
        struct mqtt_frame frame;
        mqtt_frame_find(placed, count, PACKET_BYTES, &frame);
        mqtt_echo_check(&packet, placed, &frame, sample->level);
    }
}

static void every_prefix_of_a_packet_needs_more(void **state)
{
    struct guard_page *guard = *state;
    for (size_t index = 0; index < ps_array_count(mqtt_samples); index++) {
        const struct mqtt_sample *sample = &mqtt_samples[index];
        unsigned char bytes[PACKET_BYTES];
        size_t count = mqtt_sample_write(sample->first_byte, sample->body, sample->body_bytes,
                                         bytes, sizeof(bytes));
        for (size_t split = 0; split < count; split++) {
            struct mqtt_frame frame;
            assert_int_equal(
                mqtt_frame_find(guard_page_put(guard, bytes, split), split, PACKET_BYTES, &frame),
                MQTT_FRAME_NEEDS_MORE);
            assert_true(frame.packet_bytes > split && frame.packet_bytes <= count);
            assert_int_equal(frame.packet_bytes, split < 2 ? 2 : count);
            assert_int_equal(frame.first_byte, split > 0 ? sample->first_byte : 0);
        }
    }
}

/* The fixed header says that the packet ends earlier than its fields do. */
static void every_packet_cut_short_is_refused_or_still_whole(void **state)
{
    struct guard_page *guard = *state;
    for (size_t index = 0; index < ps_array_count(mqtt_samples); index++) {
        const struct mqtt_sample *sample = &mqtt_samples[index];
        enum mqtt_type type = (enum mqtt_type)(sample->first_byte >> 4);
        for (size_t cut = 0; cut < sample->body_bytes; cut++) {
            struct mqtt_packet packet;
            enum mqtt_reason reason =
                decode_body(guard, sample->level, sample->first_byte, sample->body, cut, &packet);
            /* Only these can end early and be whole: a payload, a list, what 5.0 leaves out, and
             * the credentials of 3.1. */
            bool may_be_whole = type == MQTT_PUBLISH || type == MQTT_SUBACK ||
                                type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE ||
                                sample->level == MQTT_5_0 ||
                                (sample->level == MQTT_3_1 && type == MQTT_CONNECT);
            if (reason == MQTT_GOOD && !may_be_whole)
                fail_msg("%s cut to %zu", sample->name, cut);
        }
    }
}

static void what_follows_the_last_field_is_refused(void **state)
{
    struct guard_page *guard = *state;
    for (size_t index = 0; index < ps_array_count(mqtt_samples); index++) {
        const struct mqtt_sample *sample = &mqtt_samples[index];
        enum mqtt_type type = (enum mqtt_type)(sample->first_byte >> 4);
        unsigned char body[PACKET_BYTES];
        if (sample->body_bytes > 0)
            memcpy(body, sample->body, sample->body_bytes);
        body[sample->body_bytes] = 0;
        struct mqtt_packet packet;
        enum mqtt_reason reason = decode_body(guard, sample->level, sample->first_byte, body,
                                              sample->body_bytes + 1, &packet);
        bool is_list = type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE;
        bool can_grow = type == MQTT_PUBLISH || type == MQTT_SUBACK || sample->level == MQTT_5_0;
        if (is_list)
            assert_int_equal(reason, MQTT_TRUNCATED); /* it begins another filter */
        else if (!can_grow)
            assert_int_equal(reason, MQTT_TRAILING_BYTES);
    }
}

static void mutated_packets_are_refused_or_survive_encoding(void **state)
{
    struct guard_page *guard = *state;
    uint64_t random = 0x9e3779b97f4a7c15;
    uint32_t accepted = 0;
    for (size_t index = 0; index < ps_array_count(mqtt_samples); index++) {
        const struct mqtt_sample *sample = &mqtt_samples[index];
        unsigned char bytes[PACKET_BYTES];
        size_t count = mqtt_sample_write(sample->first_byte, sample->body, sample->body_bytes,
                                         bytes, sizeof(bytes));
        for (uint32_t mutation = 0; mutation < MUTATIONS; mutation++) {
            unsigned char *placed = guard_page_put(guard, bytes, count);
            for (uint32_t change = 0; change <= mutation % 4; change++) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                placed[random % count] ^= (unsigned char)(1u << (random >> 32 & 7));
            }
            struct mqtt_frame frame;
            struct mqtt_packet packet;
            if (mqtt_frame_find(placed, count, PACKET_BYTES, &frame) != MQTT_FRAME_WHOLE ||
                mqtt_decode(placed, &frame, sample->level, &packet) != MQTT_GOOD)
                continue;
            mqtt_echo_check(&packet, placed, &frame, sample->level);
            accepted++;
        }
    }
    assert_true(accepted > 1000); /* the mutations are mild enough to say something */
}

static void a_frame_is_found_before_what_follows_it(void **state)
{
    struct guard_page *guard = *state;
    static const unsigned char bytes[] = {0xc0, 0, 0xd0, 0x80, 0, 0x30};
    struct mqtt_frame frame;
    const unsigned char *placed = guard_page_put(guard, bytes, sizeof(bytes));
    assert_int_equal(mqtt_frame_find(placed, 6, PACKET_BYTES, &frame), MQTT_FRAME_WHOLE);
    assert_int_equal(frame.first_byte, 0xc0);
    assert_int_equal(frame.header_bytes, 2);
    assert_int_equal(frame.packet_bytes, 2);
    /* 3.1.1 does not forbid a length written longer than needed. */
    assert_int_equal(mqtt_frame_find(placed + 2, 4, PACKET_BYTES, &frame), MQTT_FRAME_WHOLE);
    assert_int_equal(frame.header_bytes, 3);
    assert_int_equal(frame.packet_bytes, 3);
    struct mqtt_packet packet;
    assert_int_equal(mqtt_decode(placed + 2, &frame, MQTT_3_1_1, &packet), MQTT_GOOD);
    assert_int_equal(mqtt_decode(placed + 2, &frame, MQTT_5_0, &packet), MQTT_BAD_REMAINING_LENGTH);
    assert_int_equal(mqtt_frame_find(placed + 5, 1, PACKET_BYTES, &frame), MQTT_FRAME_NEEDS_MORE);
    assert_int_equal(frame.packet_bytes, 2);
}

static void bad_frames_are_known_as_early_as_can_be(void **state)
{
    struct guard_page *guard = *state;
    struct mqtt_frame frame;
    static const unsigned char type_zero[] = {0x0f};
    assert_int_equal(mqtt_frame_find(guard_page_put(guard, type_zero, 1), 1, PACKET_BYTES, &frame),
                     MQTT_FRAME_BAD);
    assert_int_equal(frame.reason, MQTT_BAD_TYPE);

    static const unsigned char endless[] = {0x30, 0x80, 0x80, 0x80, 0x80};
    for (size_t count = 1; count < sizeof(endless); count++) {
        assert_int_equal(
            mqtt_frame_find(guard_page_put(guard, endless, count), count, PACKET_BYTES, &frame),
            MQTT_FRAME_NEEDS_MORE);
        assert_int_equal(frame.packet_bytes, count + 1);
        assert_int_equal(frame.header_bytes, 0);
    }
    assert_int_equal(mqtt_frame_find(guard_page_put(guard, endless, 5), 5, PACKET_BYTES, &frame),
                     MQTT_FRAME_BAD);
    assert_int_equal(frame.reason, MQTT_BAD_REMAINING_LENGTH);

    static const unsigned char large[] = {0x30, 0xff, 0xff, 0xff, 0x7f};
    assert_int_equal(
        mqtt_frame_find(guard_page_put(guard, large, 5), 5, MQTT_PACKET_BYTES_MAX, &frame),
        MQTT_FRAME_NEEDS_MORE);
    assert_int_equal(frame.packet_bytes, MQTT_PACKET_BYTES_MAX);
    assert_int_equal(
        mqtt_frame_find(guard_page_put(guard, large, 5), 5, MQTT_PACKET_BYTES_MAX - 1, &frame),
        MQTT_FRAME_BAD);
    assert_int_equal(frame.reason, MQTT_TOO_LARGE);
    assert_int_equal(frame.packet_bytes, MQTT_PACKET_BYTES_MAX);
}

static void fixed_headers_with_reserved_flags_are_refused(void **state)
{
    struct guard_page *guard = *state;
    for (unsigned type = MQTT_CONNECT; type < MQTT_PACKET_TYPES; type++) {
        if (type == MQTT_PUBLISH)
            continue;
        bool is_two = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE;
        for (unsigned flags = 0; flags < 16; flags++) {
            for (unsigned level = MQTT_3_1; level <= MQTT_5_0; level++) {
                struct mqtt_packet packet;
                enum mqtt_reason reason =
                    decode_body(guard, (enum mqtt_level)level, (uint8_t)(type << 4 | flags), "\0\0",
                                2, &packet);
                bool is_dup_of_3_1 = level == MQTT_3_1 && is_two && flags == 10;
                bool is_good = flags == (is_two ? 2 : 0) || is_dup_of_3_1;
                assert_int_equal(reason != MQTT_BAD_FLAGS, is_good);
            }
        }
    }
}

static void bad_connects_are_refused(void **state)
{
    static const struct refusal refusals[] = {
        {"empty", MQTT_3_1_1, 0x10, NULL, 0, MQTT_TRUNCATED},
        {"no level", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT"), MQTT_TRUNCATED},
        {"other name", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTX\4\2\0\0\0\0"), MQTT_BAD_PROTOCOL_NAME},
        {"lower case", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4mqtt\4\2\0\0\0\0"), MQTT_BAD_PROTOCOL_NAME},
        {"empty name", MQTT_3_1_1, 0x10, MQTT_BODY("\0\0\4\2\0\0\0\0"), MQTT_BAD_PROTOCOL_NAME},
        {"longer name", MQTT_3_1_1, 0x10, MQTT_BODY("\0\5MQTTX\4\2\0\0\0\0"),
         MQTT_BAD_PROTOCOL_NAME},
        {"MQTT at 3", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\3\2\0\0\0\0"), MQTT_BAD_PROTOCOL_LEVEL},
        {"MQTT at 6", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\6\2\0\0\0\0"), MQTT_BAD_PROTOCOL_LEVEL},
        {"MQTT at 6, else unknown", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\6"),
         MQTT_BAD_PROTOCOL_LEVEL},
        {"MQIsdp at 4", MQTT_3_1_1, 0x10, MQTT_BODY("\0\6MQIsdp\4\2\0\0\0\0"),
         MQTT_BAD_PROTOCOL_LEVEL},
        {"reserved bit", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\3\0\0\0\0"),
         MQTT_BAD_CONNECT_FLAGS},
        {"will qos alone", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\12\0\0\0\0"),
         MQTT_BAD_WILL_FLAGS},
        {"will qos 2 alone", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\22\0\0\0\0"),
         MQTT_BAD_WILL_FLAGS},
        {"will retain alone", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\42\0\0\0\0"),
         MQTT_BAD_WILL_FLAGS},
        {"will qos 3", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\36\0\0\0\0\0\1t\0\0"), MQTT_BAD_QOS},
        {"will qos 3 of 3.1", MQTT_3_1_1, 0x10, MQTT_BODY("\0\6MQIsdp\3\36\0\0\0\1a\0\1t\0\0"),
         MQTT_BAD_QOS},
        {"password alone", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\102\0\0\0\0\0\1p"),
         MQTT_PASSWORD_ALONE},
        {"password alone of 3.1", MQTT_3_1_1, 0x10, MQTT_BODY("\0\6MQIsdp\3\102\0\0\0\1a\0\1p"),
         MQTT_PASSWORD_ALONE},
        {"client id cut", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\2\0\0\0\4abc"), MQTT_TRUNCATED},
        {"client id not UTF-8", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\2\0\0\0\1\377"),
         MQTT_BAD_UTF8},
        {"client id with U+0000", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\2\0\0\0\2a\0"),
         MQTT_BAD_UTF8},
        {"user name not UTF-8", MQTT_3_1_1, 0x10,
         MQTT_BODY("\0\4MQTT\4\202\0\0\0\0\0\3\355\240\200"), MQTT_BAD_UTF8},
        {"will topic not UTF-8", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\6\0\0\0\0\0\1\200\0\0"),
         MQTT_BAD_UTF8},
        {"will topic empty", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\6\0\0\0\0\0\0\0\0"),
         MQTT_BAD_TOPIC},
        {"will topic wildcard", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\6\0\0\0\0\0\1#\0\0"),
         MQTT_BAD_TOPIC},
        {"no will payload", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\6\0\0\0\0\0\1t"),
         MQTT_TRUNCATED},
        {"no user name", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\202\0\0\0\0"), MQTT_TRUNCATED},
        {"half a user name of 3.1", MQTT_3_1_1, 0x10, MQTT_BODY("\0\6MQIsdp\3\202\0\0\0\1a\0"),
         MQTT_TRUNCATED},
        {"no password", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\302\0\0\0\0\0\1u"), MQTT_TRUNCATED},
        {"trailing", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\2\0\0\0\0\0"), MQTT_TRAILING_BYTES},
        {"5.0 without properties", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\5\2\0\0"), MQTT_TRUNCATED},
        {"5.0 block cut", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\5\2\0\0\5\21\0"), MQTT_TRUNCATED},
        {"5.0 block length too long", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\5\2\0\0\200\0\0\0"),
         MQTT_BAD_PROPERTIES},
        {"5.0 will delay of a connect", MQTT_3_1_1, 0x10,
         MQTT_BODY("\0\4MQTT\5\2\0\0\5\30\0\0\0\1\0\0"), MQTT_MISPLACED_PROPERTY},
        {"5.0 expiry of a will", MQTT_3_1_1, 0x10,
         MQTT_BODY("\0\4MQTT\5\6\0\0\0\0\0\5\21\0\0\0\1\0\1t\0\0"), MQTT_MISPLACED_PROPERTY},
    };
    assert_refused(*state, refusals, ps_array_count(refusals));
}

static void bad_publishes_are_refused(void **state)
{
    static const struct refusal refusals[] = {
        {"empty", MQTT_3_1_1, 0x30, NULL, 0, MQTT_TRUNCATED},
        {"topic cut", MQTT_3_1_1, 0x30, MQTT_BODY("\0\4a/b"), MQTT_TRUNCATED},
        {"qos 3", MQTT_3_1_1, 0x36, MQTT_BODY("\0\3a/b\0\1"), MQTT_BAD_QOS},
        {"dup at qos 0", MQTT_3_1_1, 0x38, MQTT_BODY("\0\3a/b"), MQTT_BAD_DUP},
        {"no packet id", MQTT_3_1_1, 0x32, MQTT_BODY("\0\3a/b"), MQTT_TRUNCATED},
        {"half a packet id", MQTT_3_1_1, 0x32, MQTT_BODY("\0\3a/b\0"), MQTT_TRUNCATED},
        {"packet id 0", MQTT_3_1_1, 0x32, MQTT_BODY("\0\3a/b\0\0"), MQTT_BAD_PACKET_ID},
        {"packet id 0 at qos 2", MQTT_3_1, 0x34, MQTT_BODY("\0\3a/b\0\0"), MQTT_BAD_PACKET_ID},
        {"empty topic", MQTT_3_1_1, 0x30, MQTT_BODY("\0\0x"), MQTT_BAD_TOPIC},
        {"plus", MQTT_3_1_1, 0x30, MQTT_BODY("\0\3a/+"), MQTT_BAD_TOPIC},
        {"hash", MQTT_3_1_1, 0x30, MQTT_BODY("\0\1#"), MQTT_BAD_TOPIC},
        {"hash in a long topic", MQTT_3_1_1, 0x30, MQTT_BODY("\0\24building/f3#/room-17"),
         MQTT_BAD_TOPIC},
        {"plus beside UTF-8", MQTT_3_1_1, 0x30, MQTT_BODY("\0\3\303\244+"), MQTT_BAD_TOPIC},
        {"not UTF-8", MQTT_3_1_1, 0x30, MQTT_BODY("\0\3a/\377"), MQTT_BAD_UTF8},
        {"surrogate", MQTT_3_1_1, 0x30, MQTT_BODY("\0\3\355\240\200"), MQTT_BAD_UTF8},
        {"U+0000", MQTT_3_1_1, 0x30, MQTT_BODY("\0\3a\0b"), MQTT_BAD_UTF8},
        {"5.0 without properties", MQTT_5_0, 0x30, MQTT_BODY("\0\3a/b"), MQTT_TRUNCATED},
        {"5.0 without topic or alias", MQTT_5_0, 0x30, MQTT_BODY("\0\0\0"), MQTT_BAD_TOPIC},
        {"5.0 alias 0", MQTT_5_0, 0x30, MQTT_BODY("\0\0\3\43\0\0"), MQTT_BAD_PROPERTY_VALUE},
        {"5.0 alias twice", MQTT_5_0, 0x30, MQTT_BODY("\0\0\6\43\0\1\43\0\1"),
         MQTT_REPEATED_PROPERTY},
    };
    assert_refused(*state, refusals, ps_array_count(refusals));
}

static void bad_subscribes_are_refused(void **state)
{
    static const struct refusal refusals[] = {
        {"no packet id", MQTT_3_1_1, 0x82, MQTT_BODY("\0"), MQTT_TRUNCATED},
        {"packet id 0", MQTT_3_1_1, 0x82, MQTT_BODY("\0\0\0\1a\0"), MQTT_BAD_PACKET_ID},
        {"empty", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1"), MQTT_EMPTY_LIST},
        {"filter cut", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\3a/"), MQTT_TRUNCATED},
        {"no options", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\3a/b"), MQTT_TRUNCATED},
        {"second cut", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\3a/b\0\0\3a"), MQTT_TRUNCATED},
        {"qos 3", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\3a/b\3"), MQTT_BAD_QOS},
        {"qos 3 of the second", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\1a\1\0\1b\3"), MQTT_BAD_QOS},
        {"reserved options", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\3a/b\4"), MQTT_BAD_OPTIONS},
        {"upper reserved option", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\3a/b\201"), MQTT_BAD_OPTIONS},
        {"empty filter", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\0\0"), MQTT_BAD_FILTER},
        {"bad filter", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\3a/b\0\0\3a#b\0"), MQTT_BAD_FILTER},
        {"not UTF-8", MQTT_3_1_1, 0x82, MQTT_BODY("\0\1\0\1\200\0"), MQTT_BAD_UTF8},
        {"5.0 reserved options", MQTT_5_0, 0x82, MQTT_BODY("\0\1\0\0\3a/b\100"), MQTT_BAD_OPTIONS},
        {"5.0 retain handling 3", MQTT_5_0, 0x82, MQTT_BODY("\0\1\0\0\3a/b\60"), MQTT_BAD_OPTIONS},
        {"5.0 id twice", MQTT_5_0, 0x82, MQTT_BODY("\0\1\4\13\1\13\2\0\3a/b\0"),
         MQTT_REPEATED_PROPERTY},
        {"unsubscribe empty", MQTT_3_1_1, 0xa2, MQTT_BODY("\0\1"), MQTT_EMPTY_LIST},
        {"unsubscribe id 0", MQTT_3_1_1, 0xa2, MQTT_BODY("\0\0\0\1a"), MQTT_BAD_PACKET_ID},
        {"unsubscribe cut", MQTT_3_1_1, 0xa2, MQTT_BODY("\0\1\0\2a"), MQTT_TRUNCATED},
        {"unsubscribe bad filter", MQTT_3_1_1, 0xa2, MQTT_BODY("\0\1\0\2a#"), MQTT_BAD_FILTER},
        {"unsubscribe empty filter", MQTT_3_1_1, 0xa2, MQTT_BODY("\0\1\0\0"), MQTT_BAD_FILTER},
        {"unsubscribe not UTF-8", MQTT_3_1_1, 0xa2, MQTT_BODY("\0\1\0\1\300"), MQTT_BAD_UTF8},
    };
    assert_refused(*state, refusals, ps_array_count(refusals));
}

static void bad_answers_are_refused(void **state)
{
    static const struct refusal refusals[] = {
        {"puback empty", MQTT_3_1_1, 0x40, NULL, 0, MQTT_TRUNCATED},
        {"puback short", MQTT_3_1_1, 0x40, MQTT_BODY("\1"), MQTT_TRUNCATED},
        {"puback id 0", MQTT_3_1_1, 0x40, MQTT_BODY("\0\0"), MQTT_BAD_PACKET_ID},
        {"pubrec id 0", MQTT_3_1_1, 0x50, MQTT_BODY("\0\0"), MQTT_BAD_PACKET_ID},
        {"pubrel id 0", MQTT_3_1_1, 0x62, MQTT_BODY("\0\0"), MQTT_BAD_PACKET_ID},
        {"pubcomp id 0", MQTT_3_1_1, 0x70, MQTT_BODY("\0\0"), MQTT_BAD_PACKET_ID},
        {"puback long", MQTT_3_1_1, 0x40, MQTT_BODY("\0\1\0"), MQTT_TRAILING_BYTES},
        {"5.0 puback code", MQTT_5_0, 0x40, MQTT_BODY("\0\1\222"), MQTT_BAD_CODE},
        {"5.0 pubrel code", MQTT_5_0, 0x62, MQTT_BODY("\0\1\20"), MQTT_BAD_CODE},
        {"5.0 puback long", MQTT_5_0, 0x40, MQTT_BODY("\0\1\0\0\0"), MQTT_TRAILING_BYTES},
        {"5.0 puback block cut", MQTT_5_0, 0x40, MQTT_BODY("\0\1\0\1"), MQTT_TRUNCATED},
        {"connack short", MQTT_3_1_1, 0x20, MQTT_BODY("\0"), MQTT_TRUNCATED},
        {"connack code 6", MQTT_3_1_1, 0x20, MQTT_BODY("\0\6"), MQTT_BAD_CODE},
        {"connack flags", MQTT_3_1_1, 0x20, MQTT_BODY("\2\0"), MQTT_BAD_CONNACK_FLAGS},
        {"connack session with code", MQTT_3_1_1, 0x20, MQTT_BODY("\1\5"), MQTT_BAD_CONNACK_FLAGS},
        {"connack long", MQTT_3_1_1, 0x20, MQTT_BODY("\0\0\0"), MQTT_TRAILING_BYTES},
        {"5.0 connack code 1", MQTT_5_0, 0x20, MQTT_BODY("\0\1\0"), MQTT_BAD_CODE},
        {"5.0 connack long", MQTT_5_0, 0x20, MQTT_BODY("\0\0\0\0"), MQTT_TRAILING_BYTES},
        {"suback empty", MQTT_3_1_1, 0x90, MQTT_BODY("\0\1"), MQTT_EMPTY_LIST},
        {"suback id 0", MQTT_3_1_1, 0x90, MQTT_BODY("\0\0\0"), MQTT_BAD_PACKET_ID},
        {"suback code 3", MQTT_3_1_1, 0x90, MQTT_BODY("\0\1\0\3"), MQTT_BAD_CODE},
        {"suback code of 5.0", MQTT_3_1_1, 0x90, MQTT_BODY("\0\1\207"), MQTT_BAD_CODE},
        {"unsuback id 0", MQTT_3_1_1, 0xb0, MQTT_BODY("\0\0"), MQTT_BAD_PACKET_ID},
        {"unsuback short", MQTT_3_1_1, 0xb0, MQTT_BODY("\0"), MQTT_TRUNCATED},
        {"unsuback long", MQTT_3_1_1, 0xb0, MQTT_BODY("\0\1\0"), MQTT_TRAILING_BYTES},
        {"5.0 unsuback without codes", MQTT_5_0, 0xb0, MQTT_BODY("\0\1\0"), MQTT_EMPTY_LIST},
        {"5.0 unsuback code", MQTT_5_0, 0xb0, MQTT_BODY("\0\1\0\1"), MQTT_BAD_CODE},
    };
    assert_refused(*state, refusals, ps_array_count(refusals));
}

static void packets_without_fields_have_none(void **state)
{
    static const struct refusal refusals[] = {
        {"pingreq", MQTT_3_1_1, 0xc0, MQTT_BODY("x"), MQTT_TRAILING_BYTES},
        {"pingresp", MQTT_3_1_1, 0xd0, MQTT_BODY("x"), MQTT_TRAILING_BYTES},
        {"disconnect", MQTT_3_1_1, 0xe0, MQTT_BODY("x"), MQTT_TRAILING_BYTES},
        {"5.0 disconnect code", MQTT_5_0, 0xe0, MQTT_BODY("\1"), MQTT_BAD_CODE},
        {"5.0 disconnect long", MQTT_5_0, 0xe0, MQTT_BODY("\0\0x"), MQTT_TRAILING_BYTES},
        {"5.0 auth code", MQTT_5_0, 0xf0, MQTT_BODY("\4"), MQTT_BAD_CODE},
        {"auth before 5.0", MQTT_3_1_1, 0xf0, MQTT_BODY("\30\0"), MQTT_BAD_TYPE},
    };
    assert_refused(*state, refusals, ps_array_count(refusals));
}

static void an_unknown_level_is_told_to_the_caller(void **state)
{
    struct mqtt_packet packet;
    assert_int_equal(decode_body(*state, MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\11"), &packet),
                     MQTT_BAD_PROTOCOL_LEVEL);
    assert_int_equal(packet.type, MQTT_CONNECT);
    assert_int_equal(packet.connect.level, 9);
}

static void connect_gives_every_field(void **state)
{
    struct mqtt_packet packet;
    enum mqtt_reason reason = decode_body(
        *state, MQTT_3_1_1, 0x10,
        MQTT_BODY("\0\4MQTT\4\366\1\2\0\3abc\0\3w/t\0\2\0\1\0\2me\0\3\377\0p"), &packet);
    assert_int_equal(reason, MQTT_GOOD);
    const struct mqtt_connect *connect = &packet.connect;
    assert_int_equal(connect->level, MQTT_3_1_1);
    assert_true(connect->is_clean && connect->has_will && connect->will_retain);
    assert_true(connect->has_user_name && connect->has_password);
    assert_int_equal(connect->will_qos, 2);
    assert_int_equal(connect->keepalive_seconds, 0x102);
    assert_view(connect->client_id, "abc");
    assert_view(connect->will_topic, "w/t");
    assert_view(connect->will_payload, "\0\1");
    assert_view(connect->user_name, "me");
    assert_view(connect->password, "\377\0p");
    assert_null(connect->properties.bytes);
    assert_null(connect->will_properties.bytes);

    reason = decode_body(*state, MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\0\0\0\0\1a"), &packet);
    assert_int_equal(reason, MQTT_GOOD);
    assert_false(connect->is_clean || connect->has_will || connect->will_retain);
    assert_false(connect->has_user_name || connect->has_password);
    assert_int_equal(connect->will_qos, 0);
    assert_int_equal(connect->keepalive_seconds, 0);
    assert_null(connect->will_topic.bytes);
    assert_null(connect->user_name.bytes);
    assert_null(connect->password.bytes);
}

/* MQTT 3.1, "User name and password flags": the remaining length takes precedence. */
static void what_3_1_disregards_is_let_pass(void **state)
{
    struct mqtt_packet packet;
    assert_int_equal(
        decode_body(*state, MQTT_3_1, 0x10, MQTT_BODY("\0\6MQIsdp\3\302\0\0\0\1a"), &packet),
        MQTT_GOOD);
    assert_false(packet.connect.has_user_name || packet.connect.has_password);
    assert_int_equal(
        decode_body(*state, MQTT_3_1, 0x10, MQTT_BODY("\0\6MQIsdp\3\302\0\0\0\1a\0\1u"), &packet),
        MQTT_GOOD);
    assert_true(packet.connect.has_user_name);
    assert_false(packet.connect.has_password);
    assert_view(packet.connect.user_name, "u");
    /* Bit 0, will QoS 3 and will retain without a will. */
    assert_int_equal(
        decode_body(*state, MQTT_3_1, 0x10, MQTT_BODY("\0\6MQIsdp\3\71\0\0\0\1a"), &packet),
        MQTT_GOOD);
    assert_false(packet.connect.has_will || packet.connect.will_retain);
    assert_int_equal(packet.connect.will_qos, 0);
    assert_int_equal(decode_body(*state, MQTT_3_1, 0x20, MQTT_BODY("\1\2"), &packet), MQTT_GOOD);
    assert_false(packet.connack.is_session_present);
    assert_int_equal(packet.connack.code, MQTT_CONNACK_BAD_CLIENT_ID);
}

static void publish_gives_every_field(void **state)
{
    struct mqtt_packet packet;
    const struct mqtt_publish *publish = &packet.publish;
    assert_int_equal(decode_body(*state, MQTT_3_1_1, 0x3d, MQTT_BODY("\0\3a/b\1\2hello"), &packet),
                     MQTT_GOOD);
    assert_int_equal(publish->qos, 2);
    assert_true(publish->is_dup && publish->is_retain);
    assert_int_equal(publish->packet_id, 0x102);
    assert_view(publish->topic, "a/b");
    assert_view(publish->payload, "hello");
    assert_null(publish->properties.bytes);

    assert_int_equal(decode_body(*state, MQTT_3_1_1, 0x30, MQTT_BODY("\0\3a/b"), &packet),
                     MQTT_GOOD);
    assert_false(publish->is_dup || publish->is_retain);
    assert_int_equal(publish->packet_id, 0);
    assert_int_equal(publish->payload.count, 0);

    assert_int_equal(
        decode_body(*state, MQTT_5_0, 0x32, MQTT_BODY("\0\1a\0\1\2\1\1hello"), &packet), MQTT_GOOD);
    assert_view(publish->properties, "\1\1");
    assert_view(publish->payload, "hello");
}

static void filters_come_in_the_order_of_the_packet(void **state)
{
    struct mqtt_packet packet;
    assert_int_equal(
        decode_body(*state, MQTT_3_1_1, 0x82, MQTT_BODY("\0\12\0\3a/b\0\0\3c/#\1\0\1+\2"), &packet),
        MQTT_GOOD);
    assert_int_equal(packet.filters.packet_id, 10);
    assert_true(packet.filters.has_options);
    assert_int_equal(packet.filters.count, 3);
    uint32_t position = 0;
    struct mqtt_filter filter;
    assert_true(mqtt_filter_next(&packet.filters, &position, &filter));
    assert_view(filter.text, "a/b");
    assert_int_equal(filter.qos, 0);
    assert_true(mqtt_filter_next(&packet.filters, &position, &filter));
    assert_view(filter.text, "c/#");
    assert_int_equal(filter.qos, 1);
    assert_true(mqtt_filter_next(&packet.filters, &position, &filter));
    assert_view(filter.text, "+");
    assert_int_equal(filter.qos, 2);
    assert_false(mqtt_filter_next(&packet.filters, &position, &filter));
    assert_false(mqtt_filter_next(&packet.filters, &position, &filter));

    assert_int_equal(decode_body(*state, MQTT_3_1_1, 0xa2, MQTT_BODY("\0\12\0\3a/b"), &packet),
                     MQTT_GOOD);
    assert_false(packet.filters.has_options);
    position = 0;
    assert_true(mqtt_filter_next(&packet.filters, &position, &filter));
    assert_view(filter.text, "a/b");
    assert_false(mqtt_filter_next(&packet.filters, &position, &filter));

    assert_int_equal(decode_body(*state, MQTT_5_0, 0x82, MQTT_BODY("\0\12\0\0\1a\56"), &packet),
                     MQTT_GOOD);
    position = 0;
    assert_true(mqtt_filter_next(&packet.filters, &position, &filter));
    assert_int_equal(filter.qos, 2);
    assert_int_equal(filter.options, 056);
}

static void answers_give_every_field(void **state)
{
    struct mqtt_packet packet;
    assert_int_equal(decode_body(*state, MQTT_3_1_1, 0x20, MQTT_BODY("\1\0"), &packet), MQTT_GOOD);
    assert_true(packet.connack.is_session_present);
    assert_int_equal(packet.connack.code, 0);
    assert_int_equal(decode_body(*state, MQTT_3_1_1, 0x90, MQTT_BODY("\1\2\0\1\2\200"), &packet),
                     MQTT_GOOD);
    assert_int_equal(packet.codes.packet_id, 0x102);
    assert_view(packet.codes.codes, "\0\1\2\200");
    assert_int_equal(decode_body(*state, MQTT_3_1_1, 0x62, MQTT_BODY("\377\377"), &packet),
                     MQTT_GOOD);
    assert_int_equal(packet.ack.packet_id, 0xffff);
    assert_int_equal(packet.ack.code, 0);
    assert_int_equal(decode_body(*state, MQTT_5_0, 0x40, MQTT_BODY("\0\1\20\6\37\0\3why"), &packet),
                     MQTT_GOOD);
    assert_int_equal(packet.ack.code, 0x10);
    assert_view(packet.ack.properties, "\37\0\3why");
    assert_int_equal(decode_body(*state, MQTT_5_0, 0xe0, MQTT_BODY("\4"), &packet), MQTT_GOOD);
    assert_int_equal(packet.ack.packet_id, 0);
    assert_int_equal(packet.ack.code, 4);
}

#define DECODE_TEST(test) cmocka_unit_test_setup_teardown((test), setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DECODE_TEST(every_sample_is_accepted_and_survives_encoding),
        DECODE_TEST(every_prefix_of_a_packet_needs_more),
        DECODE_TEST(every_packet_cut_short_is_refused_or_still_whole),
        DECODE_TEST(what_follows_the_last_field_is_refused),
        DECODE_TEST(mutated_packets_are_refused_or_survive_encoding),
        DECODE_TEST(a_frame_is_found_before_what_follows_it),
        DECODE_TEST(bad_frames_are_known_as_early_as_can_be),
        DECODE_TEST(fixed_headers_with_reserved_flags_are_refused),
        DECODE_TEST(bad_connects_are_refused),
        DECODE_TEST(bad_publishes_are_refused),
        DECODE_TEST(bad_subscribes_are_refused),
        DECODE_TEST(bad_answers_are_refused),
        DECODE_TEST(packets_without_fields_have_none),
        DECODE_TEST(an_unknown_level_is_told_to_the_caller),
        DECODE_TEST(connect_gives_every_field),
        DECODE_TEST(what_3_1_disregards_is_let_pass),
        DECODE_TEST(publish_gives_every_field),
        DECODE_TEST(filters_come_in_the_order_of_the_packet),
        DECODE_TEST(answers_give_every_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
