/* The bridge's guest side for Linux: runs one command and tells its exit code to the host, authenticated.
 *
 *     eventvm-guest COMMAND ARGUMENT...
 *
 * As process 1 of an initramfs it mounts /proc, /sys and /dev, and powers the machine off in the end; as any
 * other process, which must be root, it asks `poweroff` to. It speaks on the second serial port, /dev/ttyS1
 * (EVENTVM_PORT names another). When the host asks it to stop, the command's process group gets SIGTERM. A
 * command that a signal has ended counts as 128 and the signal.
 *
 *     gcc -O2 -static -o eventvm-guest linux.c
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "bridge.h"

#define AGAIN_MILLISECONDS 200
#define PORT "/dev/ttyS1"

static struct bridge bridge;
static int port, ended, stopped, acknowledged;
static uint32_t code;
static pid_t command;

static void send_whole(const char *text, size_t count)
{
    while (count) {
        ssize_t sent = write(port, text, count);
        if (sent < 0 && errno != EINTR)
            return; /* what is not heard is said again */
        if (sent > 0)
            text += sent, count -= sent;
    }
}

static void say_again(void)
{
    char line[BRIDGE_LINE];
    if (!bridge.keyed)
        send_whole(BRIDGE_HELLO, sizeof BRIDGE_HELLO - 1);
    else if (ended)
        send_whole(line, bridge_exit(&bridge, code, stopped ? "stop" : "self", line));
}

static void obey(const char *line)
{
    if (bridge_run(&bridge, line)) {
        send_whole(BRIDGE_READY, sizeof BRIDGE_READY - 1);
        say_again();
    } else if (!strcmp(line, "STOP") && !ended) {
        stopped = 1;
        kill(-command, SIGTERM);
    } else if (!strcmp(line, "ACK") && ended) {
        acknowledged = 1;
    }
}

static void hear(void)
{
    static char line[BRIDGE_LINE];
    static size_t length;
    char c;
    while (read(port, &c, 1) == 1) {
        if (c == '\n') {
            line[length] = 0;
            length = 0;
            obey(line);
        } else if (length < sizeof line - 1) {
            line[length++] = c;
        }
    }
}

/* Reap all that has ended: process 1 inherits every orphan. */
static void reap(int signals)
{
    struct signalfd_siginfo which;
    int status;
    pid_t pid;
    while (read(signals, &which, sizeof which) == sizeof which)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == command && !ended) {
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            ended = 1;
            say_again();
        }
}

static int open_port(void)
{
    const char *named = getenv("EVENTVM_PORT");
    int opened = open(named ? named : PORT, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios raw;
    if (opened < 0 || tcgetattr(opened, &raw)) {
        perror(named ? named : PORT);
        exit(2);
    }
    cfmakeraw(&raw);
    raw.c_cflag |= CLOCAL | CREAD;
    raw.c_cc[VMIN] = raw.c_cc[VTIME] = 0;
    cfsetspeed(&raw, B115200);
    tcsetattr(opened, TCSANOW, &raw);
    ioctl(opened, TIOCEXCL);
    return opened;
}

static int open_signals(void)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, 0);
    return signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void begin(char **arguments)
{
    sigset_t none;
    command = fork();
    if (command < 0) {
        perror("fork");
        exit(2);
    }
    setpgid(command, command);
    if (command)
        return;
    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, 0);
    execvp(arguments[0], arguments);
    perror(arguments[0]);
    _exit(errno == ENOENT ? 127 : 126);
}

static void power_off(void)
{
    sync();
    if (getpid() == 1)
        reboot(RB_POWER_OFF);
    execlp("poweroff", "poweroff", (char *)0);
    perror("poweroff");
}

static void mount_all(void)
{
    mkdir("/proc", 0755), mount("proc", "/proc", "proc", 0, 0);
    mkdir("/sys", 0755), mount("sysfs", "/sys", "sysfs", 0, 0);
    mkdir("/dev", 0755), mount("devtmpfs", "/dev", "devtmpfs", 0, 0);
}

int main(int count, char **arguments)
{
    if (count < 2)
        return fprintf(stderr, "usage: %s COMMAND ARGUMENT...\n", arguments[0]), 2;
    if (getpid() == 1)
        mount_all();
    prctl(PR_SET_DUMPABLE, 0);
    port = open_port();
    int signals = open_signals();
    begin(arguments + 1);
    say_again();
    while (!acknowledged) {
        struct pollfd ready[2] = {{port, POLLIN, 0}, {signals, POLLIN, 0}};
        if (poll(ready, 2, AGAIN_MILLISECONDS) == 0)
            say_again();
        hear();
        reap(signals);
    }
    power_off();
    return 1;
}
