/*
 * The reference model of a simulated gateway: what clients published, what was acknowledged to
 * them, which subscriptions they had when, and what they received. It is told by the simulated
 * clients only, knows nothing of the gateway's code, and keeps everything until the end of a run.
 *
 * Time here is the model's own clock: it ticks with each thing that a client does or notices, so
 * that any two of them have an order. 0 means "never".
 *
 * A life is what one session lives through: from a CONNECT that found none to its end. A clean
 * session's life is one connection; a durable one's spans several.
 *
 * Owner: the run. checker.h says what must hold of all this.
 */
#ifndef PENSTOCK_TESTS_SIM_MODEL_H
#define PENSTOCK_TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MODEL_TEXTS_MAX = 128, /* topics, and filters */
    MODEL_TEXT_BYTES = 64,
    MODEL_STAMP_BYTES = 8, /* least payload of a message that is not empty: its number */
    MODEL_REPORT_BYTES = 8192,
    MODEL_FAILURES_MAX = 8, /* reported; all are counted */
    MODEL_CRASHES_MAX = 16
};

/* The gateway was killed and begun anew. */
struct model_crash {
    uint64_t at;    /* the model's clock */
    uint64_t at_ns; /* the world's */
};

struct model_message {
    uint32_t topic;
    uint32_t publisher;
    uint32_t life; /* of the publisher's session */
    uint32_t payload_bytes;
    uint32_t sends; /* PUBLISH packets that were begun */
    uint64_t sent_at;
    uint64_t acked_at; /* PUBACK or PUBREC; a will: when the run ends */
    uint64_t acked_ns; /* the world's time */
    uint64_t ended_ns; /* a will: when its connection ended; the world's time */
    uint8_t qos;
    bool is_retain;
    bool is_will;
    bool is_empty;
    bool is_forbidden;   /* a will whose connection surely ended with DISCONNECT */
    bool must_appear;    /* a will whose connection surely ended otherwise */
    bool is_out_of_turn; /* sent again after newer ones of its publisher */
    bool may_be_lost;    /* acknowledged too shortly before a crash that may take it */
};

/* A subscription from one SUBSCRIBE to its end; a repeated SUBSCRIBE goes on with it unless its QoS
 * goes to or from 0. */
struct model_entry {
    uint32_t filter;
    uint32_t subscribes; /* how often the filter was asked for in this entry */
    uint64_t subscribed_at;
    uint64_t last_subscribed_at;
    uint64_t suback_at;
    uint64_t last_suback_at;
    uint64_t last_suback_ns; /* the world's time */
    uint64_t ended_at;       /* UNSUBSCRIBE, or the SUBSCRIBE that took its place, was sent */
    uint64_t unsuback_at;    /* or the SUBACK of what took its place */
    uint32_t ended_on; /* connection (resumes of the life) that the end was sent on: it may never
                          have arrived if another one followed */
    bool was_replaced; /* ended by another SUBSCRIBE of its filter */
    bool may_be_lost;  /* as a message */
    uint8_t qos_low;   /* granted, over the entry's time */
    uint8_t qos_high;
};

struct model_receipt {
    uint32_t message;
    uint64_t connected_at; /* when the connection was begun that it came by */
    uint64_t at;
    uint8_t qos;
    bool is_retain;
    bool is_dup;
};

/* How often a life received a message. */
struct model_count {
    uint32_t key; /* message + 1; 0: free */
    uint16_t plain;
    uint16_t dup;
    uint16_t retained;
    uint16_t repeated; /* plain ones that a crash explains; not among `plain` */
    uint16_t
        repeatable;    /* that may still come for the last crash: there may be copies in the log */
    bool is_lost;      /* it never came; counted once, however many subscriptions it is owed to */
    uint64_t first_at; /* live */
    uint64_t live_at;  /* last live one */
    uint64_t live_ns;  /* the same, the world's time */
    uint64_t live_connected_at;
    uint8_t live_qos;
    uint64_t last_at; /* any */
};

struct model_life {
    uint32_t client;
    uint32_t resumes;
    bool is_durable;
    uint64_t began_at;
    uint64_t ended_at;
    struct model_entry *entries;
    uint32_t entry_count;
    uint32_t entries_max;
    struct model_receipt *receipts;
    uint32_t receipt_count;
    uint32_t receipts_max;
    struct model_count *counts; /* hash table by message */
    uint32_t count_used;
    uint32_t counts_max; /* a power of two, or 0 */
};

/* What a test tells the model to get wrong, so that the checker must speak. */
enum model_mutation {
    MODEL_HONEST,
    MODEL_FORGETS_RECEIPT,
    MODEL_REPEATS_RECEIPT,
    MODEL_SWAPS_RECEIPTS,
    MODEL_RAISES_QOS,
    MODEL_FLIPS_RETAIN,
    MODEL_INVENTS_ACK,
    MODEL_FORGETS_SUBSCRIPTION,
    MODEL_FORGETS_WILL,
    MODEL_MUTATIONS
};

/* Message numbers. */
struct model_list {
    uint32_t *numbers;
    uint32_t count;
    uint32_t max;
};

struct model {
    uint64_t clock;
    uint64_t now_ns; /* the world's time, told by the run */
    struct model_crash crashes[MODEL_CRASHES_MAX];
    uint32_t crash_count;
    /* Not 0: a crash may take what was acknowledged within this long before it, and what was stored
     * of sessions last. */
    uint64_t loss_window_ns;
    uint64_t crash_window_ns; /* what came within this long before a crash may come again */
    uint64_t repeated;        /* receipts that a crash explains */
    char topics[MODEL_TEXTS_MAX][MODEL_TEXT_BYTES];
    char filters[MODEL_TEXTS_MAX][MODEL_TEXT_BYTES];
    uint32_t topic_count;
    uint32_t filter_count;
    bool matches[MODEL_TEXTS_MAX][MODEL_TEXTS_MAX]; /* [filter][topic] */
    struct model_message *messages;
    uint32_t message_count;
    uint32_t messages_max;
    struct model_list by_topic[MODEL_TEXTS_MAX]; /* all, in the order of their numbers */
    struct model_list retained[MODEL_TEXTS_MAX]; /* those with RETAIN */
    struct model_life *lives;
    uint32_t life_count;
    uint32_t lives_max;
    uint32_t client_count;
    /* Receipts of empty payloads, which name no message: by topic. */
    uint64_t empty_received[MODEL_TEXTS_MAX];
    uint64_t received[3];       /* live, by effective QoS */
    uint64_t received_retained; /* with the flag */
    uint64_t lost_allowed;      /* deliveries that retention may have taken */
    uint64_t lost;
    bool is_retained_unsure; /* the store refused a retained value, or retention took messages */
    enum model_mutation mutation;
    uint32_t mutation_at;            /* which occasion */
    struct model_receipt *held_back; /* of MODEL_SWAPS_RECEIPTS */
    uint32_t held_back_life;
    uint32_t failure_count;
    uint32_t failed_client; /* of the first failure; UINT32_MAX: none in particular */
    char report[MODEL_REPORT_BYTES];
};

struct model *model_create(uint32_t client_count);
void model_destroy(struct model *model);

/* Result: its number. The matches are ready after model_match_all. */
uint32_t model_add_topic(struct model *model, const char *text);
uint32_t model_add_filter(struct model *model, const char *text);
void model_match_all(struct model *model);

/* MQTT 4.7, written down plainly. */
bool model_text_matches(const char *filter, const char *topic);

/* Writes a failure into the report. client UINT32_MAX: none in particular. */
void model_fail(struct model *model, uint32_t client, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A crash came that may have taken something. */
static inline bool model_has_lost(const struct model *model)
{
    return model->loss_window_ns != 0 && model->crash_count != 0;
}

/* A new message; it is sent with model_sent. Result: its number. */
uint32_t model_add_message(struct model *model, const struct model_message *message);
void model_sent(struct model *model, uint32_t message);
void model_acked(struct model *model, uint32_t message);

/* The payload of a message: its number, then bytes that follow from it. */
void model_fill_payload(uint32_t message, unsigned char *out, uint32_t bytes);
/* The message whose payload this is, or UINT32_MAX. */
uint32_t model_identify(const struct model *model, const unsigned char *payload, uint32_t bytes);

/* The gateway was killed now. */
void model_crash(struct model *model);

uint32_t model_life_begin(struct model *model, uint32_t client, bool is_durable);
void model_life_end(struct model *model, uint32_t life);

/* Result: the entry, for model_suback. */
uint32_t model_subscribe(struct model *model, uint32_t life, uint32_t filter, uint8_t qos);
void model_suback(struct model *model, uint32_t life, uint32_t entry, uint8_t code);
void model_unsubscribe(struct model *model, uint32_t life, uint32_t filter);
/* `asked_at`: the clock after model_unsubscribe; what was subscribed later is not meant. */
void model_unsuback(struct model *model, uint32_t life, uint32_t filter, uint64_t asked_at);

/* A PUBLISH came; the checker looks at it at once. `at` is filled in here. */
void model_receive(struct model *model, uint32_t life, const struct model_receipt *receipt);

/* The same with an empty payload. */
void model_receive_empty(struct model *model, uint32_t life, uint32_t topic, bool is_retain,
                         bool is_dup);

/* How often a life received a message; NULL: never. */
const struct model_count *model_count_of(const struct model_life *life, uint32_t message);

/* The life lost a message. False: that is known already. */
bool model_lose(struct model_life *life, uint32_t message);

uint32_t model_find_topic(const struct model *model, const unsigned char *text, uint32_t bytes);

#endif
