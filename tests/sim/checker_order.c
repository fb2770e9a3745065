/*
 * The rule of order; see checker.h. For each topic and published QoS a graph says which message
 * stands before which: as each life received them first, as each publisher sent them, and because
 * one was acknowledged before another was sent. If the gateway keeps one order per topic, the graph
 * has no cycle.
 *
 * Left out are wills (nobody knows when they were sent), QoS 1 messages that were sent again, as
 * their second copy may be what a life sees first, and what was sent again after newer messages.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "sim/checker.h"
#include "sim/model.h"

struct edge {
    uint32_t to;
    uint32_t next; /* edge + 1 */
};

struct graph {
    struct model *model;
    uint32_t topic;
    uint8_t qos;
    uint32_t node_count;
    uint32_t message_nodes; /* nodes below are messages, from here on moments of acknowledgement */
    uint32_t *node_of;      /* by message: node + 1 */
    uint32_t *message_of;   /* by node */
    uint32_t *first;        /* by node: edge + 1 */
    uint32_t *incoming;     /* by node */
    struct edge *edges;
    uint32_t edge_count;
    uint32_t edges_max;
};

static void add_edge(struct graph *graph, uint32_t from, uint32_t to)
{
    if (graph->edge_count == graph->edges_max) {
        graph->edges_max = graph->edges_max == 0 ? 256 : graph->edges_max * 2;
        graph->edges = realloc(graph->edges, graph->edges_max * sizeof(struct edge));
        ps_assert(graph->edges != NULL);
    }
    graph->edges[graph->edge_count] = (struct edge){.to = to, .next = graph->first[from]};
    graph->first[from] = ++graph->edge_count;
    graph->incoming[to]++;
}

static bool takes_part(const struct graph *graph, const struct model_message *message)
{
    return message->qos == graph->qos && !message->is_will && !message->is_empty &&
           message->sends != 0 && !message->is_out_of_turn &&
           (message->qos != 1 || message->sends == 1) &&
           (!message->may_be_lost || message->sends == 1);
}

static void find_nodes(struct graph *graph)
{
    const struct model *model = graph->model;
    graph->node_count = 0;
    const struct model_list *list = &model->by_topic[graph->topic];
    memset(graph->node_of, 0, model->message_count * sizeof(uint32_t));
    for (uint32_t i = 0; i < list->count; i++) {
        if (!takes_part(graph, &model->messages[list->numbers[i]]))
            continue;
        graph->message_of[graph->node_count] = list->numbers[i];
        graph->node_of[list->numbers[i]] = ++graph->node_count;
    }
    graph->message_nodes = graph->node_count;
    graph->edge_count = 0;
    memset(graph->first, 0, 2 * (size_t)graph->node_count * sizeof(uint32_t));
    memset(graph->incoming, 0, 2 * (size_t)graph->node_count * sizeof(uint32_t));
}

/* Messages are numbered as they were sent. */
static void add_publishers(struct graph *graph, uint32_t *last)
{
    const struct model *model = graph->model;
    memset(last, 0, model->client_count * sizeof(uint32_t));
    for (uint32_t node = 0; node < graph->message_nodes; node++) {
        const struct model_message *message = &model->messages[graph->message_of[node]];
        uint32_t before = last[message->publisher];
        if (before != 0 && model->messages[graph->message_of[before - 1]].life == message->life)
            add_edge(graph, before - 1, node);
        last[message->publisher] = node + 1;
    }
}

struct moment {
    uint64_t at;
    uint32_t node;
};

static int by_time(const void *left, const void *right)
{
    const struct moment *a = left;
    const struct moment *b = right;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Whatever was acknowledged before a message was sent stands before it: through a chain of moments,
 * one per acknowledgement. */
static void add_acknowledgements(struct graph *graph, struct moment *moments)
{
    const struct model *model = graph->model;
    uint32_t count = 0;
    for (uint32_t node = 0; node < graph->message_nodes; node++) {
        const struct model_message *message = &model->messages[graph->message_of[node]];
        if (message->acked_at != 0)
            moments[count++] = (struct moment){message->acked_at, node};
    }
    qsort(moments, count, sizeof(*moments), by_time);
    for (uint32_t i = 0; i < count; i++) {
        add_edge(graph, moments[i].node, graph->message_nodes + i);
        if (i != 0)
            add_edge(graph, graph->message_nodes + i - 1, graph->message_nodes + i);
    }
    graph->node_count = graph->message_nodes + count;
    uint32_t passed = 0;
    for (uint32_t node = 0; node < graph->message_nodes; node++) {
        uint64_t sent_at = model->messages[graph->message_of[node]].sent_at;
        while (passed < count && moments[passed].at < sent_at)
            passed++;
        if (passed != 0)
            add_edge(graph, graph->message_nodes + passed - 1, node);
    }
}

/* Deliveries at effective QoS 0 of a message published above are a stream of their own. */
static void add_life(struct graph *graph, const struct model_life *life)
{
    uint32_t last[2] = {0, 0};
    for (uint32_t i = 0; i < life->receipt_count; i++) {
        const struct model_receipt *receipt = &life->receipts[i];
        uint32_t node = graph->node_of[receipt->message];
        const struct model_count *count = model_count_of(life, receipt->message);
        if (node == 0 || receipt->is_retain || count->first_at != receipt->at)
            continue;
        uint32_t *before = &last[receipt->qos == 0];
        if (*before != 0)
            add_edge(graph, *before - 1, node - 1);
        *before = node;
    }
}

/* Takes away what nothing stands before, again and again; what is left stands in a circle. */
static void sort_out(struct graph *graph, uint32_t *queue)
{
    uint32_t done = 0;
    uint32_t count = 0;
    for (uint32_t node = 0; node < graph->node_count; node++) {
        if (graph->incoming[node] == 0)
            queue[count++] = node;
    }
    while (done < count) {
        uint32_t edge = graph->first[queue[done++]];
        for (; edge != 0; edge = graph->edges[edge - 1].next) {
            if (--graph->incoming[graph->edges[edge - 1].to] == 0)
                queue[count++] = graph->edges[edge - 1].to;
        }
    }
    if (count == graph->node_count)
        return;
    char list[256] = "";
    size_t used = 0;
    uint32_t shown = 0;
    for (uint32_t node = 0; node < graph->message_nodes && shown < 12; node++) {
        if (graph->incoming[node] == 0)
            continue;
        used += (size_t)snprintf(list + used, sizeof(list) - used, " %u", graph->message_of[node]);
        shown++;
    }
    model_fail(graph->model, UINT32_MAX, "no order of %s at QoS %u explains what came:%s",
               graph->model->topics[graph->topic], graph->qos, list);
}

void checker_check_order(struct model *model)
{
    size_t nodes_max = 2 * (size_t)model->message_count + 2;
    struct graph graph = {
        .model = model,
        .node_of = calloc(nodes_max, sizeof(uint32_t)),
        .message_of = calloc(nodes_max, sizeof(uint32_t)),
        .first = calloc(nodes_max, sizeof(uint32_t)),
        .incoming = calloc(nodes_max, sizeof(uint32_t)),
    };
    uint32_t *queue = calloc(nodes_max, sizeof(uint32_t));
    uint32_t *last = calloc(model->client_count + 1, sizeof(uint32_t));
    struct moment *moments = calloc(nodes_max, sizeof(struct moment));
    ps_assert(graph.node_of != NULL && graph.message_of != NULL && graph.first != NULL &&
              graph.incoming != NULL && queue != NULL && last != NULL && moments != NULL);
    for (graph.topic = 0; graph.topic < model->topic_count; graph.topic++) {
        for (graph.qos = 0; graph.qos <= 2; graph.qos++) {
            find_nodes(&graph);
            if (graph.node_count < 2)
                continue;
            add_publishers(&graph, last);
            add_acknowledgements(&graph, moments);
            for (uint32_t i = 0; i < model->life_count; i++)
                add_life(&graph, &model->lives[i]);
            sort_out(&graph, queue);
        }
    }
    free(graph.node_of);
    free(graph.message_of);
    free(graph.first);
    free(graph.incoming);
    free(graph.edges);
    free(queue);
    free(last);
    free(moments);
}
