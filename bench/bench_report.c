/*
 * Progress and summaries; see bench_report.h.
 */
#include "bench/bench_report.h"

#include <inttypes.h>

#include "bench_internal.h"

static double per(double amount, double unit)
{
    return unit > 0 ? amount / unit : 0;
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static double quantile_us(const struct bench_histogram *latency, uint32_t per_million)
{
    return (double)bench_histogram_quantile(latency, per_million) / 1000;
}

static uint64_t use_us(const struct bench_process_use *use)
{
    return use->user_us + use->system_us;
}

/* The loss that is known: what is expected and did not come, or where nothing is expected, what
 * others passed over. */
static uint64_t lost_messages(const struct bench_result *result)
{
    return result->all.expected > 0 ? result->undelivered : result->tally.missing;
}

void bench_report_progress(struct bench_run *run)
{
    static const char *const names[] = {
        [BENCH_OPENS] = "opens",   [BENCH_WARMS] = "warms",   [BENCH_MEASURES] = "measures",
        [BENCH_DRAINS] = "drains", [BENCH_CHECKS] = "checks", [BENCH_LINGERS] = "lingers"};
    const struct bench_counters *now = &run->counters;
    if (!run->options->is_quiet)
        fprintf(stderr,
                "t=%.1f phase=%s up=%u sent=%" PRIu64 " received=%" PRIu64 " acked=%" PRIu64
                " missing=%" PRIu64 " lost_connections=%" PRIu64 " p50_us=%.0f p99_us=%.0f\n",
                seconds(run->now_ns - run->start_ns), names[run->phase], run->up,
                now->sent - run->reported.sent, now->deliveries - run->reported.deliveries,
                now->acked - run->reported.acked, run->tally.missing, now->lost,
                quantile_us(&run->interval, 500000), quantile_us(&run->interval, 990000));
    run->reported = *now;
    bench_histogram_merge(&run->result->latency, &run->interval);
    run->interval = (struct bench_histogram){0};
}

static void text_connections(FILE *file, const struct bench_result *result)
{
    fprintf(file,
            "connections  %" PRIu64 " of %" PRIu64 " up in %.2f s (%.0f/s), %" PRIu64
            " up at the end; failed %" PRIu64 ", refused %" PRIu64 ", lost %" PRIu64 "\n",
            result->up, result->sockets, seconds(result->connect_ns),
            per((double)result->up, seconds(result->connect_ns)), result->up_end,
            result->all.connect_failures, result->all.refused, result->all.lost);
    fprintf(file, "pings        %" PRIu64 " sent, %" PRIu64 " answered, %" PRIu64 " late\n",
            result->all.pings, result->all.pings_answered, result->all.pings_late);
}

static void text_messages(FILE *file, const struct bench_result *result)
{
    const struct bench_counters *all = &result->all;
    const struct bench_counters *measure = &result->measure;
    double measured_s = seconds(result->measure_ns);
    fprintf(file,
            "messages     %" PRIu64 " sent, %" PRIu64 " acknowledged, %" PRIu64
            " received; while measuring (%.2f s) %.0f/s sent, %.0f/s received\n",
            all->sent, all->acked, all->deliveries, measured_s,
            per((double)measure->sent, measured_s), per((double)measure->deliveries, measured_s));
    fprintf(file,
            "checks       %" PRIu64 " lost, %" PRIu64 " duplicate, %" PRIu64
            " out of order, %" PRIu64 " unacknowledged, %" PRIu64 " foreign, %" PRIu64
            " corrupt, %" PRIu64 " at another QoS, %" PRIu64 " bad packets\n",
            lost_messages(result), result->tally.duplicates, result->tally.misordered,
            result->unacked, all->foreign, all->corrupt, all->wrong_qos, all->bad_packets);
    const struct bench_histogram *latency = &result->latency;
    fprintf(
        file,
        "latency us   p50 %.0f, p90 %.0f, p99 %.0f, p99.9 %.0f, max %.0f (%" PRIu64 " measured)\n",
        quantile_us(latency, 500000), quantile_us(latency, 900000), quantile_us(latency, 990000),
        quantile_us(latency, 999000), (double)latency->max / 1000, latency->count);
}

static void text_endurance(FILE *file, const struct bench_endurance *tally)
{
    fprintf(file,
            "endurance    %" PRIu64 " reconnects, %" PRIu64 " sessions lost; %" PRIu64
            " lost, of these acknowledged %" PRIu64 "; retained values %" PRIu64
            " times checked, %" PRIu64 " lost\n",
            tally->reconnects, tally->sessions_lost, tally->lost, tally->lost_acked,
            tally->retained_checks, tally->retained_lost);
    fprintf(file,
            "QoS 1        %" PRIu64 " duplicates; of these too old %" PRIu64
            ", sent again by the publisher %" PRIu64
            "; the oldest came first %.2f s before its connection ended\n",
            tally->duplicates_1, tally->duplicates_1_old, tally->duplicates_1_resent,
            seconds(tally->outlived_ns));
    fprintf(file,
            "QoS 2        %" PRIu64 " duplicates, %" PRIu64
            " of publishers without a session, %" PRIu64 " repeated before release, %" PRIu64
            " ids used again, %" PRIu64 " not released; answers out of order %" PRIu64 "\n",
            tally->duplicates_2, tally->duplicates_2_unsecured, tally->repeats_2,
            tally->id_conflicts, tally->unreleased, tally->answers_misordered);
    if (tally->given_up > 0)
        fprintf(file, "given up     the server was away for too long\n");
}

static void text_use(FILE *file, const struct bench_options *options,
                     const struct bench_result *result)
{
    double messages = (double)result->used_messages;
    if (messages > 0) {
        fprintf(file, "client       %.3f CPU us/message (%.0f %% system)\n",
                per((double)use_us(&result->client_use), messages),
                100 *
                    per((double)result->client_use.system_us, (double)use_us(&result->client_use)));
        if (options->server_pid != 0)
            fprintf(file, "server       %.3f CPU us/message (%.0f %% system)\n",
                    per((double)use_us(&result->server_use), messages),
                    100 * per((double)result->server_use.system_us,
                              (double)use_us(&result->server_use)));
    }
    if (options->mode == BENCH_CONN && options->server_pid != 0)
        fprintf(file,
                "memory       server %.1f MB before, %.1f MB with all up: %.0f bytes/connection\n",
                (double)result->server_dirty_before / 1e6, (double)result->server_dirty_up / 1e6,
                per((double)result->server_dirty_up - (double)result->server_dirty_before,
                    (double)result->up));
}

void bench_report_text(FILE *file, const struct bench_options *options,
                       const struct bench_result *result)
{
    bool is_mixed = options->mode == BENCH_ENDURE && options->qos == 0;
    const char *qos = is_mixed ? "1 and 2" : (const char *const[]){"0", "1", "2"}[options->qos];
    fprintf(file, "mode         %s, QoS %s, %" PRIu64 " bytes\n", bench_mode_name(options->mode),
            qos, options->payload_bytes);
    text_connections(file, result);
    if (options->mode != BENCH_CONN)
        text_messages(file, result);
    if (options->mode == BENCH_ENDURE)
        text_endurance(file, &result->endurance);
    if (options->missed > 0)
        fprintf(file, "served       %" PRIu64 " sessions in %.2f s\n", result->latency.count,
                seconds(result->served_ns));
    text_use(file, options, result);
    fprintf(file, "result       %s\n", bench_result_is_good(options, result) ? "good" : "FAILED");
}

static void json_endurance(FILE *file, const struct bench_endurance *tally)
{
    const struct {
        const char *name;
        uint64_t value;
    } values[] = {
        {"reconnects", tally->reconnects},
        {"sessions_lost", tally->sessions_lost},
        {"messages_acked", tally->acked},
        {"messages_received", tally->received},
        {"lost_acked", tally->lost_acked},
        {"duplicates_qos_1", tally->duplicates_1},
        {"duplicates_qos_1_old", tally->duplicates_1_old},
        {"duplicates_qos_1_resent", tally->duplicates_1_resent},
        {"duplicates_qos_1_age_ms", tally->outlived_ns / 1000000},
        {"duplicates_qos_2", tally->duplicates_2},
        {"duplicates_qos_2_unsecured", tally->duplicates_2_unsecured},
        {"repeats_qos_2", tally->repeats_2},
        {"id_conflicts", tally->id_conflicts},
        {"unreleased", tally->unreleased},
        {"answers_misordered", tally->answers_misordered},
        {"retained_checks", tally->retained_checks},
        {"retained_lost", tally->retained_lost},
        {"given_up", tally->given_up},
    };
    for (size_t i = 0; i < ps_array_count(values); i++)
        fprintf(file, ", \"%s\": %" PRIu64, values[i].name, values[i].value);
}

void bench_report_json(FILE *file, const struct bench_options *options,
                       const struct bench_result *result)
{
    const struct bench_counters *all = &result->all;
    double measured_s = seconds(result->measure_ns);
    const struct {
        const char *name;
        double value;
    } values[] = {
        {"qos", (double)options->qos},
        {"payload_bytes", (double)options->payload_bytes},
        {"sockets", (double)result->sockets},
        {"up", (double)result->up},
        {"up_end", (double)result->up_end},
        {"connect_seconds", seconds(result->connect_ns)},
        {"connect_failures", (double)all->connect_failures},
        {"refused", (double)all->refused},
        {"lost_connections", (double)all->lost},
        {"pings", (double)all->pings},
        {"pings_answered", (double)all->pings_answered},
        {"pings_late", (double)all->pings_late},
        {"sent", (double)all->sent},
        {"acked", (double)all->acked},
        {"expected", (double)all->expected},
        {"received", (double)all->deliveries},
        {"lost", (double)lost_messages(result)},
        {"duplicates", (double)result->tally.duplicates},
        {"misordered", (double)result->tally.misordered},
        {"unacked", (double)result->unacked},
        {"foreign", (double)all->foreign},
        {"others", (double)all->others},
        {"corrupt", (double)all->corrupt},
        {"wrong_qos", (double)all->wrong_qos},
        {"bad_packets", (double)all->bad_packets},
        {"sends", (double)all->sends},
        {"sends_blocked", (double)all->sends_blocked},
        {"receives", (double)all->receives},
        {"measured_seconds", measured_s},
        {"served_seconds", seconds(result->served_ns)},
        {"sent_per_second", per((double)result->measure.sent, measured_s)},
        {"received_per_second", per((double)result->measure.deliveries, measured_s)},
        {"latency_count", (double)result->latency.count},
        {"latency_mean_us", (double)bench_histogram_mean(&result->latency) / 1000},
        {"latency_p50_us", quantile_us(&result->latency, 500000)},
        {"latency_p90_us", quantile_us(&result->latency, 900000)},
        {"latency_p99_us", quantile_us(&result->latency, 990000)},
        {"latency_p999_us", quantile_us(&result->latency, 999000)},
        {"latency_max_us", (double)result->latency.max / 1000},
        {"used_messages", (double)result->used_messages},
        {"client_user_us", (double)result->client_use.user_us},
        {"client_system_us", (double)result->client_use.system_us},
        {"server_user_us", (double)result->server_use.user_us},
        {"server_system_us", (double)result->server_use.system_us},
        {"client_cpu_us_per_message",
         per((double)use_us(&result->client_use), (double)result->used_messages)},
        {"server_cpu_us_per_message",
         per((double)use_us(&result->server_use), (double)result->used_messages)},
        {"server_dirty_before_bytes", (double)result->server_dirty_before},
        {"server_dirty_up_bytes", (double)result->server_dirty_up},
        {"client_dirty_before_bytes", (double)result->client_dirty_before},
        {"client_dirty_up_bytes", (double)result->client_dirty_up},
    };
    fprintf(file, "{\"mode\": \"%s\", \"is_good\": %s", bench_mode_name(options->mode),
            bench_result_is_good(options, result) ? "true" : "false");
    for (size_t i = 0; i < ps_array_count(values); i++)
        fprintf(file, ", \"%s\": %.15g", values[i].name, values[i].value);
    if (options->mode == BENCH_ENDURE)
        json_endurance(file, &result->endurance);
    fprintf(file, "}\n");
}
