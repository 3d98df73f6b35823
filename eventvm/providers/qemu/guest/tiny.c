/* A guest of a few kilobytes for tests and demonstrations: it boots in milliseconds and does as it is told.
 *
 * It speaks the bridge on COM2, writes what it does on COM1, and takes these words as boot arguments:
 *
 *   exit=N     end by itself with code N, once the host has given it a key
 *   code=N     end with code N when it is asked to (0 if it is not said)
 *   count      write a number on COM1, 20 times a second
 *   deaf       heed the power button alone, not the bridge
 *   numb       heed the bridge alone, not the power button
 *   stubborn   heed neither
 *   mute       do not speak at all; the power button powers off without a code
 *   forge      tell a code that is not authenticated, and power off
 *   secret=S   end with the first byte of the secret S as its code, 255 where there is none
 *   off panic triple reset hang   once it has its key: power off without a code, panic, fault, reset, go silent
 */

#include "bridge.h"

#define COM1 0x3f8
#define COM2 0x2f8
#define PM_STATUS 0x600
#define PM_ENABLE 0x602
#define PM_CONTROL 0x604
#define POWER_BUTTON 0x100
#define SLEEP_OFF 0x2000
#define PVPANIC 0x505
#define FW_SELECT 0x510
#define FW_DATA 0x511
#define FW_DIRECTORY 0x19
#define TICKS_A_SECOND 20
#define AGAIN_TICKS 4 /* after which an unanswered line is said again */

static void outb(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static void outw(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }

static uint8_t inb(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint16_t inw(uint16_t port)
{
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

void *memcpy(void *to, const void *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}

void *memset(void *to, int value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)to)[i] = value;
    return to;
}

/* --- interrupts: the timer and COM2 wake it, so that it need not spin */

extern void interrupted(void);

static void wake_on_interrupts(void)
{
    static struct { uint16_t low, segment, kind, high; } gates[48];
    struct __attribute__((packed)) { uint16_t limit; uint32_t base; } table = {sizeof gates - 1, (uint32_t)gates};
    uint32_t entry = (uint32_t)interrupted, every = 1193182 / TICKS_A_SECOND;
    for (int i = 32; i < 48; i++) {
        gates[i].low = entry, gates[i].segment = 8, gates[i].kind = 0x8e00, gates[i].high = entry >> 16;
    }
    __asm__ volatile("lidt %0" ::"m"(table));
    outb(0x20, 0x11), outb(0xa0, 0x11), outb(0x21, 32), outb(0xa1, 40);
    outb(0x21, 4), outb(0xa1, 2), outb(0x21, 1), outb(0xa1, 1);
    outb(0x21, (uint8_t)~(1 << 0 | 1 << 3)), outb(0xa1, 0xff);
    outb(0x43, 0x34), outb(0x40, every & 255), outb(0x40, every >> 8);
    outb(COM2 + 2, 7), outb(COM2 + 1, 1), outb(COM2 + 4, 11);
}

/* The timer runs down from its start again and again: a tick has passed when it stands higher than before. */
static int ticked(void)
{
    static uint16_t before;
    outb(0x43, 0);
    uint16_t now = inb(0x40);
    now |= inb(0x40) << 8;
    int passed = now > before;
    before = now;
    return passed;
}

/* --- lines */

static void say(uint16_t port, const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (!(inb(port + 5) & 0x20))
            ;
        outb(port, text[i]);
    }
}

static void tell(uint16_t port, const char *text)
{
    size_t count = 0;
    while (text[count])
        count++;
    say(port, text, count);
}

/* Give a whole line once it is there, without waiting for one. */
static const char *heard(void)
{
    static char line[BRIDGE_LINE];
    static int length;
    while (inb(COM2 + 5) & 1) {
        char c = inb(COM2);
        if (c == '\n') {
            line[length] = 0;
            length = 0;
            return line;
        }
        if (length < BRIDGE_LINE - 1)
            line[length++] = c;
    }
    return 0;
}

/* --- what it is told */

static const char *arguments;

static const char *after(const char *word)
{
    for (const char *at = arguments; *at; at++)
        if ((at == arguments || at[-1] == ' ') && bridge_begins(at, word)) {
            while (*word)
                at++, word++;
            return at;
        }
    return 0;
}

static uint32_t number(const char *text)
{
    uint32_t value = 0;
    while (text && *text >= '0' && *text <= '9')
        value = value * 10 + *text++ - '0';
    return value;
}

static uint32_t read_big_endian(int bytes)
{
    uint32_t value = 0;
    while (bytes--)
        value = value << 8 | inb(FW_DATA);
    return value;
}

/* Look a secret up where the host has put it, in the directory of QEMU's firmware configuration. */
static uint32_t first_byte_of_secret(const char *name)
{
    outw(FW_SELECT, FW_DIRECTORY);
    for (uint32_t left = read_big_endian(4); left; left--) {
        char file[57] = {0}, wanted[57] = "opt/org.eventvm/secrets/";
        uint32_t size = read_big_endian(4), key = read_big_endian(2);
        int at = 24;
        read_big_endian(2);
        for (int i = 0; i < 56; i++)
            file[i] = inb(FW_DATA);
        while (name[at - 24] && name[at - 24] != ' ' && at < 56)
            wanted[at] = name[at - 24], at++;
        if (size && bridge_begins(file, wanted) && !file[at]) {
            outw(FW_SELECT, key);
            return inb(FW_DATA);
        }
    }
    return 255;
}

/* --- what it does */

static void forever(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void power_off(void)
{
    outw(PM_CONTROL, SLEEP_OFF);
    forever();
}

static void triple_fault(void)
{
    struct __attribute__((packed)) { uint16_t limit; uint32_t base; } nothing = {0, 0};
    __asm__ volatile("lidt %0; int3" ::"m"(nothing));
}

static void misbehave(void)
{
    if (after("off"))
        power_off();
    if (after("panic"))
        outb(PVPANIC, 1), forever();
    if (after("triple"))
        triple_fault();
    if (after("reset"))
        outb(0x64, 0xfe), forever();
    if (after("hang"))
        forever();
}

static struct bridge bridge;
static const char *via; /* why it ends; none while it goes on */
static uint32_t code;
static char last[BRIDGE_LINE];

static void say_again(void)
{
    if (via && bridge.keyed)
        say(COM2, last, bridge_exit(&bridge, code, via, last));
    else if (!bridge.keyed)
        tell(COM2, BRIDGE_HELLO);
}

static void end(const char *why)
{
    if (via)
        return;
    via = why;
    if (after("mute"))
        power_off();
    say_again();
}

static void forge(void)
{
    memset(bridge.key, 0, sizeof bridge.key);
    say(COM2, last, bridge_exit(&bridge, number(after("forge=")), "self", last));
    power_off();
}

/* Begin under a key, or go on under another one: an end that was told under the old key is told again. */
static void keyed(void)
{
    tell(COM2, BRIDGE_READY);
    say_again();
    if (via)
        return;
    misbehave();
    if (after("forge"))
        forge();
    if (after("exit="))
        code = number(after("exit=")), end("self");
    if (after("secret="))
        code = first_byte_of_secret(after("secret=")), end("self");
}

static void obey(const char *line)
{
    if (bridge_run(&bridge, line))
        keyed();
    else if (bridge_begins(line, "STOP") && !after("deaf") && !after("stubborn"))
        end("stop");
    else if (bridge_begins(line, "ACK") && via)
        power_off();
}

static void look_at_button(void)
{
    if (!(inw(PM_STATUS) & POWER_BUTTON))
        return;
    outw(PM_STATUS, POWER_BUTTON);
    if (!after("stubborn") && !after("numb"))
        end("button");
}

static void tick(void)
{
    static uint32_t count;
    char text[12] = {0};
    if (++count % AGAIN_TICKS == 0 && !after("mute"))
        say_again();
    if (after("count")) {
        *bridge_number(text, count) = '\n';
        tell(COM1, text);
    }
}

void run(const uint32_t *start_info)
{
    const char *line;
    arguments = (const char *)start_info[6];
    code = number(after("code="));
    outw(PM_STATUS, POWER_BUTTON), outw(PM_ENABLE, POWER_BUTTON);
    wake_on_interrupts();
    tell(COM1, "tiny guest: ");
    tell(COM1, arguments);
    tell(COM1, "\n");
    if (!after("mute"))
        tell(COM2, BRIDGE_HELLO);
    for (;;) {
        __asm__ volatile("cli");
        while (!after("mute") && (line = heard()))
            obey(line);
        look_at_button();
        if (ticked())
            tick();
        __asm__ volatile("sti; hlt");
    }
}
