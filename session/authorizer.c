/*
 * Who may connect; see authorizer.h.
 */
#include "session/authorizer.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "net/connection.h"
#include "session/hub.h"
#include "session/password_file.h"

/* A password on its way through the helper thread; user name and password follow. */
struct password_job {
    struct helper_job job;
    const struct password_file *file;
    authorizer_done *on_done;
    void *context;
    uint32_t user_bytes;
    uint32_t password_bytes;
    bool is_right;
    char text[];
};

static void run(void *context)
{
    struct password_job *job = context;
    job->is_right = password_check(job->file, job->text, job->user_bytes,
                                   job->text + job->user_bytes, job->password_bytes);
}

static enum mqtt_connack_code submit(struct hub *hub, const struct password_file *file,
                                     const struct mqtt_connect *connect, authorizer_done *on_done,
                                     void *context)
{
    const struct authorizer *authorizer = hub->authorizer;
    uint32_t password_bytes = connect->has_password ? connect->password.count : 0;
    struct password_job *job =
        heap_alloc(hub->heap, sizeof(*job) + connect->user_name.count + password_bytes + 1);
    if (job == NULL)
        return MQTT_CONNACK_UNAVAILABLE;
    *job = (struct password_job){
        .job = {.run = run, .context = job},
        .file = file,
        .on_done = on_done,
        .context = context,
        .user_bytes = connect->user_name.count,
        .password_bytes = password_bytes,
    };
    memcpy(job->text, connect->user_name.bytes, job->user_bytes);
    if (password_bytes != 0)
        memcpy(job->text + job->user_bytes, connect->password.bytes, password_bytes);
    if (helper_submit(authorizer->helper, authorizer->port, &job->job) != 0) {
        explicit_bzero(job->text, job->user_bytes + password_bytes);
        heap_free(hub->heap, job);
        return MQTT_CONNACK_UNAVAILABLE;
    }
    return MQTT_CONNACK_ACCEPTED;
}

void authorizer_check(struct hub *hub, struct connection *connection,
                      const struct mqtt_connect *connect, authorizer_done *on_done, void *context)
{
    const struct authorizer *authorizer = hub->authorizer;
    enum mqtt_connack_code code = MQTT_CONNACK_ACCEPTED;
    /* Read once: a reload may replace it, or take it away, at any moment. */
    const struct password_file *file = authorizer == NULL ? NULL : authorizer->file;
    bool has_users = file != NULL;
    if (!connect->has_user_name || !has_users) {
        bool is_allowed =
            hub->limits->allow_anonymous || connection_is_loopback(hub->net, connection);
        if (has_users && !hub->limits->allow_anonymous)
            is_allowed = false; /* a password file says that users are wanted */
        on_done(context, is_allowed ? MQTT_CONNACK_ACCEPTED : MQTT_CONNACK_NOT_AUTHORIZED);
        return;
    }
    code = submit(hub, file, connect, on_done, context);
    if (code != MQTT_CONNACK_ACCEPTED)
        on_done(context, code);
}

/* Ends a job that came back, and says what became of it. */
static void finish(struct hub *hub, struct password_job *job, enum mqtt_connack_code code)
{
    authorizer_done *on_done = job->on_done;
    void *context = job->context;
    explicit_bzero(job->text, job->user_bytes + job->password_bytes);
    heap_free(hub->heap, job);
    on_done(context, code);
}

void authorizer_step(struct hub *hub)
{
    struct authorizer *authorizer = hub->authorizer;
    if (authorizer == NULL || authorizer->port == NULL)
        return;
    struct helper_job *done = NULL;
    while ((done = helper_take(authorizer->port)) != NULL) {
        struct password_job *job = done->context;
        finish(hub, job,
               job->is_right ? MQTT_CONNACK_ACCEPTED : MQTT_CONNACK_BAD_USER_NAME_OR_PASSWORD);
    }
}

void authorizer_stop(struct hub *hub)
{
    struct authorizer *authorizer = hub->authorizer;
    if (authorizer == NULL || authorizer->port == NULL)
        return;
    struct helper_job *done = NULL;
    while ((done = helper_take(authorizer->port)) != NULL)
        finish(hub, done->context, MQTT_CONNACK_UNAVAILABLE);
}
