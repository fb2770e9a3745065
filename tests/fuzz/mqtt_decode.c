/*
 * A stream of packets as a peer may send it. The first byte chooses the level; the rest is taken
 * frame by frame until it ends or is refused, and what is accepted must survive being encoded.
 */
#include "support/mqtt_echo.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count == 0)
        return 0;
    enum mqtt_level level = (enum mqtt_level)(MQTT_3_1 + bytes[0] % 3);
    for (size_t position = 1; position < count;) {
        const unsigned char *start = bytes + position;
        struct mqtt_frame frame;
        struct mqtt_packet packet;
        enum mqtt_frame_state state = mqtt_frame_find(start, count - position, 1 << 20, &frame);
        ps_assert(state != MQTT_FRAME_NEEDS_MORE || frame.packet_bytes > count - position);
        if (state != MQTT_FRAME_WHOLE)
            break;
        enum mqtt_reason reason = mqtt_decode(start, &frame, level, &packet);
        ps_assert(reason < MQTT_REASONS);
        if (reason == MQTT_GOOD)
            mqtt_echo_check(&packet, start, &frame, level);
        position += frame.packet_bytes;
    }
    return 0;
}
