/* HMAC-SHA256 (RFC 2104, FIPS 180-4) for guests: one header, no library, no allocation. */

#ifndef EVENTVM_HMAC_H
#define EVENTVM_HMAC_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint32_t length;
    uint8_t block[64];
};

static const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t sha256_rotated(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void sha256_schedule(const uint8_t *block, uint32_t *words)
{
    for (int i = 0; i < 16; i++)
        words[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t early = words[i - 15], late = words[i - 2];
        uint32_t low = sha256_rotated(early, 7) ^ sha256_rotated(early, 18) ^ early >> 3;
        uint32_t high = sha256_rotated(late, 17) ^ sha256_rotated(late, 19) ^ late >> 10;
        words[i] = words[i - 16] + low + words[i - 7] + high;
    }
}

static void sha256_compress(struct sha256 *sum)
{
    uint32_t words[64], s[8];
    sha256_schedule(sum->block, words);
    for (int i = 0; i < 8; i++)
        s[i] = sum->state[i];
    for (int i = 0; i < 64; i++) {
        uint32_t high = sha256_rotated(s[4], 6) ^ sha256_rotated(s[4], 11) ^ sha256_rotated(s[4], 25);
        uint32_t low = sha256_rotated(s[0], 2) ^ sha256_rotated(s[0], 13) ^ sha256_rotated(s[0], 22);
        uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        uint32_t one = s[7] + high + choice + sha256_constants[i] + words[i];
        for (int j = 7; j > 0; j--)
            s[j] = s[j - 1];
        s[4] += one;
        s[0] = one + low + majority;
    }
    for (int i = 0; i < 8; i++)
        sum->state[i] += s[i];
}

static void sha256_begin(struct sha256 *sum)
{
    static const uint32_t first[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };
    for (int i = 0; i < 8; i++)
        sum->state[i] = first[i];
    sum->length = 0;
}

static void sha256_add(struct sha256 *sum, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sum->block[sum->length++ % 64] = bytes[i];
        if (sum->length % 64 == 0)
            sha256_compress(sum);
    }
}

static void sha256_end(struct sha256 *sum, uint8_t *digest)
{
    uint32_t bits = sum->length * 8;
    uint8_t end = 0x80, zero = 0;
    uint8_t size[8] = {0, 0, 0, 0, bits >> 24, bits >> 16, bits >> 8, bits};
    sha256_add(sum, &end, 1);
    while (sum->length % 64 != 56)
        sha256_add(sum, &zero, 1);
    sha256_add(sum, size, 8);
    for (int i = 0; i < 32; i++)
        digest[i] = sum->state[i / 4] >> (24 - 8 * (i % 4));
}

static void hmac_half(const uint8_t key[32], uint8_t pad, const uint8_t *text, size_t count, uint8_t *digest)
{
    struct sha256 sum;
    uint8_t padded[64];
    for (int i = 0; i < 64; i++)
        padded[i] = (i < 32 ? key[i] : 0) ^ pad;
    sha256_begin(&sum);
    sha256_add(&sum, padded, 64);
    sha256_add(&sum, text, count);
    sha256_end(&sum, digest);
}

static void hmac(const uint8_t key[32], const uint8_t *text, size_t count, uint8_t mac[32])
{
    uint8_t inner[32];
    hmac_half(key, 0x36, text, count, inner);
    hmac_half(key, 0x5c, inner, 32, mac);
}

#endif
