/*
 * Requests of rings on the simulated disk, in simulated time: each is a job that comes a step
 * further when it is due.
 *
 *   read: due -> read, done
 *   write: due -> written, done; or with a sync -> due -> durable, done
 *   sync: what is dirty is taken at the submission; due -> durable, done
 *
 * With no delay a request is done before its submission returns.
 */
#include "disk_sim_internal.h"

#include <stdlib.h>

#include "core/base.h"

struct sim_file_job {
    uint64_t due_ns;
    uint64_t order; /* of those that are due at one instant */
    struct ring *ring;
    struct ring_file_request *request;
    struct sim_descriptor *descriptor;
    struct sim_sync *sync;
    bool is_syncing;
};

static uint64_t draw_due_ns(struct sim_disk *disk, uint64_t delay_max_ns)
{
    return disk->now_ns + (delay_max_ns == 0 ? 0 : random_between(&disk->random, 0, delay_max_ns));
}

static void begin_sync(struct sim_disk *disk, struct sim_file_job *job)
{
    job->is_syncing = true;
    const struct ring_file_request *request = job->request;
    bool is_write = request->kind == RING_FILE_WRITE_SYNCED;
    uint64_t from = is_write ? request->offset : 0;
    uint64_t to = is_write ? request->offset + request->bytes : UINT64_MAX;
    job->sync = sim_disk_begin_sync(disk, job->descriptor->file, from, to);
    job->due_ns = draw_due_ns(disk, disk->faults.sync_delay_max_ns);
}

/* One step of a job that is due. True: it is done, with the result in its request. */
static bool take_step(struct sim_disk *disk, struct sim_file_job *job)
{
    struct ring_file_request *request = job->request;
    struct sim_file *file = job->descriptor->file;
    if (job->is_syncing) {
        int status = sim_disk_end_sync(disk, file, job->sync);
        bool is_write = request->kind == RING_FILE_WRITE_SYNCED;
        request->result = status == 0 && is_write ? (int32_t)request->bytes : status;
        return true;
    }
    if (request->kind == RING_FILE_READ) {
        request->result = (int32_t)sim_disk_read_file(disk, file, request->buffer, request->bytes,
                                                      request->offset);
        return true;
    }
    request->result =
        (int32_t)sim_disk_write_file(disk, file, request->buffer, request->bytes, request->offset);
    if (request->result < 0 || request->kind == RING_FILE_WRITE)
        return true;
    begin_sync(disk, job);
    return false;
}

static void forget_job(struct sim_disk *disk, uint32_t index)
{
    disk->jobs[index].descriptor->requests--;
    disk->jobs[index] = disk->jobs[--disk->job_count];
}

/* The job that is due first; job_count: there is none. */
static uint32_t first_job(const struct sim_disk *disk, const struct ring *ring)
{
    uint32_t first = disk->job_count;
    for (uint32_t i = 0; i < disk->job_count; i++) {
        const struct sim_file_job *job = &disk->jobs[i];
        const struct sim_file_job *best = &disk->jobs[first];
        if (ring != NULL && job->ring != ring)
            continue;
        if (first == disk->job_count || job->due_ns < best->due_ns ||
            (job->due_ns == best->due_ns && job->order < best->order))
            first = i;
    }
    return first;
}

uint64_t sim_disk_due_ns(const struct sim_disk *disk)
{
    uint32_t first = first_job(disk, NULL);
    return first == disk->job_count ? UINT64_MAX : disk->jobs[first].due_ns;
}

static void run_due(struct sim_disk *disk)
{
    for (;;) {
        uint32_t first = first_job(disk, NULL);
        if (first == disk->job_count || disk->jobs[first].due_ns > disk->now_ns)
            return;
        if (!take_step(disk, &disk->jobs[first]))
            continue;
        struct sim_file_job job = disk->jobs[first];
        forget_job(disk, first);
        sim_ring_on_file_done(job.ring, job.request);
    }
}

void sim_disk_advance(struct sim_disk *disk, uint64_t now_ns)
{
    disk->now_ns = ps_max_u64(disk->now_ns, now_ns);
    run_due(disk);
}

static struct sim_file_job *add_job(struct sim_disk *disk)
{
    if (disk->job_count == disk->job_capacity) {
        disk->job_capacity = disk->job_capacity == 0 ? 64 : disk->job_capacity * 2;
        disk->jobs = realloc(disk->jobs, disk->job_capacity * sizeof(*disk->jobs));
        ps_assert(disk->jobs != NULL);
    }
    return &disk->jobs[disk->job_count++];
}

void sim_disk_submit(struct sim_disk *disk, struct ring *ring, struct ring_file_request *request)
{
    struct sim_descriptor *descriptor = sim_disk_descriptor(disk, request->fd);
    if (disk->is_down || descriptor->kind == SIM_DESCRIPTOR_DEAD) {
        request->result = -EIO;
        sim_ring_on_file_done(ring, request);
        return;
    }
    ps_assert(descriptor->kind == SIM_DESCRIPTOR_FILE);
    bool is_write = request->kind == RING_FILE_WRITE || request->kind == RING_FILE_WRITE_SYNCED;
    ps_assert(!is_write || descriptor->is_writable);
    descriptor->requests++;
    struct sim_file_job *job = add_job(disk);
    *job = (struct sim_file_job){
        .order = disk->job_order++,
        .ring = ring,
        .request = request,
        .descriptor = descriptor,
    };
    if (request->kind == RING_FILE_SYNC)
        begin_sync(disk, job);
    else
        job->due_ns = draw_due_ns(disk, is_write ? disk->faults.write_delay_max_ns
                                                 : disk->faults.read_delay_max_ns);
    run_due(disk);
}

void sim_disk_drain(struct sim_disk *disk, struct ring *ring)
{
    uint32_t first = 0;
    while ((first = first_job(disk, ring)) != disk->job_count) {
        if (take_step(disk, &disk->jobs[first]))
            forget_job(disk, first);
    }
}

/* Any first part of a write is written. What a sync has under way is the file's to lose. */
static void tear(struct sim_disk *disk, struct sim_file_job *job)
{
    const struct ring_file_request *request = job->request;
    bool is_write = request->kind == RING_FILE_WRITE || request->kind == RING_FILE_WRITE_SYNCED;
    if (!is_write || job->is_syncing)
        return;
    /* The page cache takes bytes up to the end of a sector, whatever the first one's begin. */
    uint64_t lead = request->offset % SIM_DISK_SECTOR_BYTES;
    uint64_t sectors = (lead + request->bytes + SIM_DISK_SECTOR_BYTES - 1) / SIM_DISK_SECTOR_BYTES;
    uint64_t end = random_between(&disk->random, 0, sectors) * SIM_DISK_SECTOR_BYTES;
    uint64_t count = end > lead ? ps_min_u64(end - lead, request->bytes) : 0;
    disk->counters.writes_torn += count != 0 && count != request->bytes;
    if (count != 0)
        sim_disk_write_file(disk, job->descriptor->file, request->buffer, (size_t)count,
                            request->offset);
}

void sim_disk_tear_jobs(struct sim_disk *disk)
{
    uint32_t first = 0;
    while ((first = first_job(disk, NULL)) != disk->job_count) {
        struct sim_file_job job = disk->jobs[first];
        tear(disk, &job);
        forget_job(disk, first);
        job.request->result = -EIO;
        sim_ring_on_file_done(job.ring, job.request);
    }
}
