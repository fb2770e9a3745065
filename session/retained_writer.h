/*
 * Retained values, on the owner's side: what a committed record with RETAIN leaves behind. The
 * value of a topic is its last retained record, or nothing after an empty payload [MQTT-3.3.1-10].
 * Values go to the broker's store in the order of their sequences, in batches, with a key that says
 * up to which sequence they were applied.
 *
 * Keys: "r", partition (2 bytes), topic; a topic beyond RETAINED_KEY_TOPIC_BYTES is cut and its
 * hash added. "a", partition: applied up to (8 bytes).
 *
 * Which topics have a value is known by their hashes, so that there are never more than
 * retained_max: beyond it a topic without a value gets none (its message is delivered as any
 * other), while those that have one go on.
 *
 * Owner and thread: the partition's owner.
 */
#ifndef PENSTOCK_SESSION_RETAINED_WRITER_H
#define PENSTOCK_SESSION_RETAINED_WRITER_H

#include <stdbool.h>
#include <stdint.h>

struct owner;
struct record;
struct retained_writer;

enum { RETAINED_KEY_TOPIC_BYTES = 440, RETAINED_APPLIED_KEY_BYTES = 3 };

int retained_writer_create(struct owner *owner, struct retained_writer **out_writer);
void retained_writer_destroy(struct retained_writer *writer);

/* A record with RETAIN was committed. */
void retained_writer_apply(struct retained_writer *writer, struct record *record);

/* Submits what was applied. */
void retained_writer_step(struct retained_writer *writer);

/* True while something applied is not in the store yet. */
bool retained_writer_is_busy(const struct retained_writer *writer);

/* The key of "applied up to", in RETAINED_APPLIED_KEY_BYTES. */
void retained_writer_applied_key(uint16_t partition, unsigned char *out_key);

/* Now and then: partitions that went on without retained records are applied as far as they are
 * handed over, so that little is looked at again after a crash. */
void retained_writer_tell_applied(struct retained_writer *writer);

/* The key of a topic's value, or with `is_prefix` the beginning of the keys of topics that begin
 * so. */
uint32_t retained_writer_key(uint16_t partition, const void *topic, uint32_t bytes, bool is_prefix,
                             unsigned char *out_key);

#endif
