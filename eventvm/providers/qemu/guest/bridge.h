/* The guest's half of the bridge: what its lines look like. Whoever includes this sends and receives them.
 *
 * guest: EVENTVM1 HELLO                      until it is answered
 * host:  RUN <key, 64 hex> <nonce, 32 hex>   at any time: what went before is void
 * guest: EVENTVM1 READY
 * host:  STOP                                please end
 * guest: EVENTVM1 EXIT <code> <via> <mac>    until it is acknowledged
 * host:  ACK                                 the code is on the host's disk: power off
 */

#ifndef EVENTVM_BRIDGE_H
#define EVENTVM_BRIDGE_H

#include "hmac.h"

#define BRIDGE_HELLO "EVENTVM1 HELLO\n"
#define BRIDGE_READY "EVENTVM1 READY\n"
#define BRIDGE_LINE 256

struct bridge {
    uint8_t key[32];
    char nonce[33];
    int keyed;
};

static int bridge_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int bridge_begins(const char *line, const char *word)
{
    while (*word)
        if (*line++ != *word++)
            return 0;
    return 1;
}

/* Take a key and a nonce out of a RUN line; one that is cut short changes nothing. */
static int bridge_run(struct bridge *bridge, const char *line)
{
    struct bridge given = {.keyed = 1};
    const char *key = line + 4, *nonce = line + 69;
    if (!bridge_begins(line, "RUN "))
        return 0;
    for (int i = 0; i < 64; i++) {
        if (bridge_digit(key[i]) < 0)
            return 0;
        given.key[i / 2] = given.key[i / 2] << 4 | bridge_digit(key[i]);
    }
    if (key[64] != ' ')
        return 0;
    for (int i = 0; i < 32; i++) {
        if (bridge_digit(nonce[i]) < 0)
            return 0;
        given.nonce[i] = nonce[i];
    }
    *bridge = given;
    return 1;
}

static char *bridge_text(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    return at;
}

static char *bridge_number(char *at, uint32_t number)
{
    char digits[10];
    int count = 0;
    do
        digits[count++] = '0' + number % 10;
    while (number /= 10);
    while (count)
        *at++ = digits[--count];
    return at;
}

/* Write the EXIT line. The MAC is over "eventvm-bridge-1 exit <nonce> <code> <via>". */
static size_t bridge_exit(const struct bridge *bridge, uint32_t code, const char *via, char line[BRIDGE_LINE])
{
    char signed_text[BRIDGE_LINE], *end = bridge_text(signed_text, "eventvm-bridge-1 exit ");
    uint8_t mac[32];
    char *at = bridge_text(line, "EVENTVM1 EXIT ");
    end = bridge_text(bridge_number(bridge_text(bridge_text(end, bridge->nonce), " "), code), " ");
    end = bridge_text(end, via);
    hmac(bridge->key, (const uint8_t *)signed_text, end - signed_text, mac);
    at = bridge_text(bridge_text(bridge_text(bridge_number(at, code), " "), via), " ");
    for (int i = 0; i < 64; i++)
        *at++ = "0123456789abcdef"[mac[i / 2] >> (i % 2 ? 0 : 4) & 15];
    *at++ = '\n';
    return at - line;
}

#endif
