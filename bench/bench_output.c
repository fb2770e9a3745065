/*
 * What waits to be sent: one send for each connection with something to say, in batches; see
 * bench_internal.h. A buffer goes back to the cache as soon as its last byte is with the kernel, so
 * that the next connection of the turn writes into the same, hot one.
 */
#include "bench_internal.h"

void bench_output_mark(struct bench_run *run, uint32_t index)
{
    struct bench_connection *connection = &run->connections[index];
    if (connection->is_dirty)
        return;
    connection->is_dirty = true;
    run->dirty[run->dirty_count++] = index;
}

/* Moves what is unsent into a buffer that holds `bytes` more. */
static bool grow(struct bench_run *run, struct bench_connection *connection, size_t bytes)
{
    uint32_t unsent = connection->output_bytes - connection->output_sent;
    size_t capacity = 0;
    unsigned char *output = buffer_acquire(&run->buffers, 2 * (size_t)unsent + bytes, &capacity);
    if (output == NULL)
        return false;
    if (connection->output != NULL) {
        memcpy(output, connection->output + connection->output_sent, unsent);
        buffer_release(&run->buffers, connection->output, connection->output_capacity);
    }
    connection->output = output;
    connection->output_capacity = (uint32_t)capacity;
    connection->output_bytes = unsent;
    connection->output_sent = 0;
    return true;
}

unsigned char *bench_output_room(struct bench_run *run, uint32_t index, size_t bytes)
{
    struct bench_connection *connection = &run->connections[index];
    if (connection->output_capacity - connection->output_bytes < bytes &&
        !grow(run, connection, bytes)) {
        bench_connection_drop(run, index, false);
        return NULL;
    }
    unsigned char *room = connection->output + connection->output_bytes;
    connection->output_bytes += (uint32_t)bytes;
    bench_output_mark(run, index);
    return room;
}

void bench_output_release(struct bench_run *run, struct bench_connection *connection)
{
    if (connection->output != NULL)
        buffer_release(&run->buffers, connection->output, connection->output_capacity);
    connection->output = NULL;
    connection->output_capacity = 0;
    connection->output_bytes = 0;
    connection->output_sent = 0;
}

static void on_sent(struct bench_run *run, uint32_t index, int32_t result)
{
    struct bench_connection *connection = &run->connections[index];
    run->counters.sends++;
    if (result < 0 && result != -EAGAIN) {
        bench_connection_drop(run, index, true);
        return;
    }
    connection->output_sent += result > 0 ? (uint32_t)result : 0;
    if (connection->output_sent == connection->output_bytes) {
        bench_output_release(run, connection);
        return;
    }
    run->counters.sends_blocked++;
    run->blocked++;
    connection->is_blocked = true;
    ring_watch_writable(run->ring, connection->socket);
}

void bench_output_unblock(struct bench_run *run, uint32_t index)
{
    struct bench_connection *connection = &run->connections[index];
    if (!connection->is_blocked)
        return;
    connection->is_blocked = false;
    run->blocked--;
    bench_output_mark(run, index);
    if (connection->is_parked)
        bench_receive_mark(run, index);
    connection->is_parked = false;
}

static void send_batch(struct bench_run *run, const uint32_t *indices, uint32_t count)
{
    struct ring_send requests[BENCH_SENDS_MAX];
    struct iovec vectors[BENCH_SENDS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        struct bench_connection *connection = &run->connections[indices[i]];
        vectors[i] = (struct iovec){
            .iov_base = connection->output + connection->output_sent,
            .iov_len = connection->output_bytes - connection->output_sent,
        };
        requests[i] = (struct ring_send){
            .socket = connection->socket, .vectors = &vectors[i], .vector_count = 1};
    }
    ring_send_batch(run->ring, requests, count);
    for (uint32_t i = 0; i < count; i++)
        on_sent(run, indices[i], requests[i].result);
}

void bench_output_flush(struct bench_run *run)
{
    /* What a fill marks again is for the next turn. */
    uint32_t *flushing = run->dirty;
    uint32_t flushing_count = run->dirty_count;
    run->dirty = run->flushing;
    run->flushing = flushing;
    run->dirty_count = 0;
    uint32_t batch[BENCH_SENDS_MAX];
    uint32_t batch_count = 0;
    for (uint32_t i = 0; i < flushing_count; i++) {
        uint32_t index = flushing[i];
        struct bench_connection *connection = &run->connections[index];
        bool can_say = !connection->is_blocked && bench_connection_is_open(connection);
        bool has_more =
            can_say && connection->stream != BENCH_NO_STREAM && bench_publish_fill(run, index);
        connection->is_dirty = false;
        if (has_more)
            bench_output_mark(run, index);
        if (!can_say)
            continue;
        if (connection->output == NULL)
            continue;
        batch[batch_count++] = index;
        if (batch_count == BENCH_SENDS_MAX) {
            send_batch(run, batch, batch_count);
            batch_count = 0;
        }
    }
    if (batch_count > 0)
        send_batch(run, batch, batch_count);
}
