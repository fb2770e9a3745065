/*
 * Retained values, on the owner's side: what a committed record with RETAIN leaves behind. The
 * value of a topic is its last retained record, or nothing after an empty payload [MQTT-3.3.1-10].
 * Values go to the broker's store in the order of their sequences, in batches, with a key that says
 * up to which sequence they were applied.
 *
 * Keys: "r", partition (2 bytes), topic; a topic beyond RETAINED_KEY_TOPIC_BYTES is cut and its
 * hash added. "a", partition: applied up to (8 bytes).
 *
 * Beyond retained_max (retained_topics.h) a topic without a value gets none (its message is
 * delivered as any other), while those that have one go on. Where the store has no room for a value
 * its topic has none either, not the older one; that is counted and logged.
 *
 * The store may be slow, or fail for a while: what is on its way is bounded, and beyond it
 * (retained_writer_is_behind) the owner brings nothing more and takes no appends.
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

/* A record with RETAIN was committed. False: memory is out, and it is to be given again, when the
 * writer is not behind any more. */
bool retained_writer_apply(struct retained_writer *writer, struct record *record);

/* Submits what was applied. */
void retained_writer_step(struct retained_writer *writer);

/* True while something applied is not in the store yet. */
bool retained_writer_is_busy(const struct retained_writer *writer);

/* So much is on its way that nothing more may be applied. */
bool retained_writer_is_behind(const struct retained_writer *writer);

/* Something is to be tried again soon, and no answer brings it back. */
bool retained_writer_waits(const struct retained_writer *writer);

/* Lowers needed_from of the owner's partitions to the first records whose values are not in the
 * store yet. */
void retained_writer_lower_needed(const struct retained_writer *writer);

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
