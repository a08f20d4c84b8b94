/* Signal handlers that make socket calls while their thread is in the middle of one. Each case checks itself and ends
 * the process with a message when it finds something wrong; what is printed is the same over the kernel. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __func__, __LINE__, #what, errno);                               \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static int port;
static pthread_t main_thread;

/* What the handler works on: a connection of its own with an echo at its other end. */
static int side = -1;
static volatile sig_atomic_t handled;

static void *echo(void *arg) {
    int fd = (int)(intptr_t)arg;
    char buf[65536];
    ssize_t n;
    while ((n = recv(fd, buf, sizeof buf, 0)) > 0 || (n < 0 && errno == EINTR)) {
        for (ssize_t done = 0; done < n;) {
            ssize_t sent = send(fd, buf + done, n - done, MSG_NOSIGNAL);
            CHECK(sent > 0 || errno == EINTR);
            done += sent > 0 ? sent : 0;
        }
    }
    close(fd);
    return NULL;
}

static int listener = -1;

/* A connection to this very process; `other` gets its other end, or it is echoed where that is null. */
static int connection(int *other) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (listener < 0) {
        int one = 1;
        listener = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
        CHECK(bind(listener, (void *)&a, sizeof a) == 0);
        CHECK(listen(listener, 16) == 0);
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, (void *)&a, sizeof a) == 0);
    int peer = accept(listener, NULL, NULL);
    CHECK(peer >= 0);
    if (other) {
        *other = peer;
        return fd;
    }
    pthread_t thread;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    CHECK(pthread_create(&thread, NULL, echo, (void *)(intptr_t)peer) == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return fd;
}

static void install(int signal, int flags, void (*handler)(int, siginfo_t *, void *)) {
    struct sigaction action = {.sa_flags = flags | SA_SIGINFO};
    action.sa_sigaction = handler;
    sigemptyset(&action.sa_mask);
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static void timer(int microseconds) {
    struct itimerval every = {{0, microseconds}, {0, microseconds}};
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
}

/* Writes a pattern and reads it back, `rounds` times, with calls of every kind. */
static void hammer(int fd, int rounds) {
    static unsigned char out[20000], in[sizeof out];
    for (int round = 0; round < rounds; round++) {
        size_t len = round % 16 == 0 ? sizeof out : (size_t)(1 + round % 700);
        for (size_t i = 0; i < len; i++) out[i] = (unsigned char)(round * 31 + i * 7);
        size_t sent = 0, got = 0;
        while (sent < len || got < len) {
            if (sent < len) {
                ssize_t n = round % 2 ? write(fd, out + sent, len - sent) : send(fd, out + sent, len - sent, 0);
                CHECK(n > 0 || (n < 0 && errno == EINTR));
                sent += n > 0 ? n : 0;
            }
            struct pollfd p = {fd, POLLIN, 0};
            if (round % 3 == 0) CHECK(poll(&p, 1, 10000) > 0 || errno == EINTR);
            ssize_t n = round % 5 ? recv(fd, in + got, len - got, 0) : read(fd, in + got, len - got);
            CHECK(n > 0 || (n < 0 && errno == EINTR));
            got += n > 0 ? n : 0;
        }
        CHECK(memcmp(in, out, len) == 0);
    }
}

static void use_side(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info, (void)context;
    int before = errno;
    char word[64];
    struct pollfd p = {side, POLLIN, 0};
    CHECK(write(side, "ping", 4) == 4 || errno == EAGAIN || errno == EINTR);
    CHECK(send(side, "pong", 4, MSG_DONTWAIT | MSG_NOSIGNAL) == 4 || errno == EAGAIN);
    CHECK(poll(&p, 1, 0) >= 0 || errno == EINTR);
    while (recv(side, word, sizeof word, MSG_DONTWAIT) > 0) continue;
    handled++;
    errno = before;
}

/* A timer whose handler sends and polls, over a thread that does nothing but send, poll and receive. */
static void timers(int flags, int microseconds) {
    int fd = connection(NULL);
    side = connection(NULL);
    install(SIGALRM, flags, use_side);
    timer(microseconds);
    struct timespec now, start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        hammer(fd, 200);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < 3);
    timer(0);
    CHECK(handled > 100);
    hammer(fd, 100);
}

static void timers_restarting(void) { timers(SA_RESTART, 150); }
static void timers_interrupting(void) { timers(0, 150); }
/* Seldom enough that a busy machine does not nest handlers until there is no stack left. */
static void timers_nested(void) { timers(SA_RESTART | SA_NODEFER, 1000); }

/* A handler that blocks in recv for its answer. */
static void ask_side(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info, (void)context;
    int before = errno;
    char word[4];
    CHECK(send(side, "ping", 4, 0) == 4);
    CHECK(recv(side, word, 4, MSG_WAITALL) == 4 && memcmp(word, "ping", 4) == 0);
    handled++;
    errno = before;
}

static void blocking_handlers(void) {
    int fd = connection(NULL);
    side = connection(NULL);
    install(SIGALRM, SA_RESTART, ask_side);
    timer(1000);
    while (handled < 1000) hammer(fd, 50);
    timer(0);
    hammer(fd, 100);
}

/* A thread that does nothing but allocate memory, whose handler makes the larger calls. */
static void use_much(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info, (void)context;
    int before = errno;
    struct pollfd many[200];
    for (size_t i = 0; i < 200; i++) many[i] = (struct pollfd){side, POLLIN | POLLOUT, 0};
    CHECK(poll(many, 200, 0) == 200);
    char byte = 'x', into[40];
    struct iovec parts[40];
    for (size_t i = 0; i < 40; i++) parts[i] = (struct iovec){&byte, 1};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 40};
    CHECK(sendmsg(side, &msg, 0) == 40);
    for (size_t i = 0; i < 40; i++) parts[i] = (struct iovec){into + i, 1};
    CHECK(recvmsg(side, &msg, MSG_WAITALL) == 40);
    int other, fd = connection(&other);
    CHECK(write(fd, "word", 4) == 4 && read(other, into, 4) == 4);
    close(fd);
    close(other);
    handled++;
    errno = before;
}

static void allocations(void) {
    int fd = connection(NULL);
    side = connection(NULL);
    install(SIGALRM, SA_RESTART, use_much);
    static void *kept[1000];
    timer(1000);
    for (unsigned i = 0; handled < 1000; i++) {
        void **place = &kept[i * 7919 % 1000];
        free(*place);
        *place = malloc(1 + i * 31 % 3000);
        CHECK(*place);
    }
    timer(0);
    hammer(fd, 100);
}

/* Real-time signals queue: none is lost, all come in order with their values. Others come in between. */
static volatile sig_atomic_t expected, wrong;
static volatile int usr1, usr2;

static void in_order(int signal, siginfo_t *info, void *context) {
    use_side(signal, info, context);
    if (info->si_value.sival_int != expected || info->si_code != SI_QUEUE) wrong++;
    expected = info->si_value.sival_int + 1;
}

static void count_usr(int signal, siginfo_t *info, void *context) {
    use_side(signal, info, context);
    if (info->si_signo != signal || info->si_code != SI_TKILL) wrong++;
    if (signal == SIGUSR1) usr1++;
    else usr2++;
}

#define QUEUED 5000

static void *shower(void *arg) {
    for (int i = 0; i < QUEUED; i++) {
        union sigval value = {.sival_int = i};
        while (sigqueue(getpid(), SIGRTMIN, value) != 0) usleep(50);
        if (i % 3 == 0) pthread_kill(main_thread, SIGUSR1);
        if (i % 5 == 0) pthread_kill(main_thread, SIGUSR2);
        if (i % 8 == 0) usleep(100);
    }
    return arg;
}

static void queues(void) {
    int fd = connection(NULL);
    side = connection(NULL);
    install(SIGRTMIN, SA_RESTART, in_order);
    install(SIGUSR1, SA_RESTART, count_usr);
    install(SIGUSR2, 0, count_usr);
    pthread_t thread;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    CHECK(pthread_create(&thread, NULL, shower, NULL) == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    while (expected < QUEUED) hammer(fd, 10);
    pthread_join(thread, NULL);
    CHECK(wrong == 0);
    CHECK(usr1 > 0 && usr2 > 0);
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    CHECK(memcmp(&now, &old, 8) == 0);
}

/* SA_ONSTACK, and the masks that a handler runs with. */
static char stack[65536];

static void on_stack(int signal, siginfo_t *info, void *context) {
    char here;
    sigset_t now;
    if (&here < stack || &here >= stack + sizeof stack) wrong++;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    if (!sigismember(&now, SIGALRM) || !sigismember(&now, SIGUSR1) || sigismember(&now, SIGUSR2)) wrong++;
    if (sigismember(&((ucontext_t *)context)->uc_sigmask, SIGUSR1)) wrong++;
    use_side(signal, info, context);
}

static void stacks(void) {
    int fd = connection(NULL);
    side = connection(NULL);
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    CHECK(sigaltstack(&alternate, NULL) == 0);
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    action.sa_sigaction = on_stack;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR1);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    timer(150);
    while (handled < 5000) hammer(fd, 50);
    timer(0);
    CHECK(wrong == 0);
}

/* SA_RESETHAND: once, and then the default. */
static void once(void) {
    int fd = connection(NULL);
    side = connection(NULL);
    for (int i = 0; i < 500; i++) {
        struct sigaction now;
        install(SIGALRM, SA_RESETHAND | SA_RESTART, use_side);
        CHECK(sigaction(SIGALRM, NULL, &now) == 0);
        CHECK(now.sa_sigaction == use_side && now.sa_flags & SA_RESETHAND && now.sa_flags & SA_SIGINFO);
        int before = handled;
        struct itimerval soon = {{0, 0}, {0, 150}};
        CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
        while (handled == before) hammer(fd, 5);
        CHECK(sigaction(SIGALRM, NULL, &now) == 0);
        CHECK(now.sa_handler == SIG_DFL);
    }
}

/* Handlers that never come back: out of sends, receives and waits of datagrams, where nothing can be cut in half. */
static sigjmp_buf out;

static void leave(int signal, siginfo_t *info, void *context) {
    use_side(signal, info, context);
    siglongjmp(out, 1);
}

static void jumps(void) {
    int fd = connection(NULL);
    side = connection(NULL);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int in = socket(AF_INET, SOCK_DGRAM, 0), from = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(bind(in, (void *)&a, sizeof a) == 0 && getsockname(in, (void *)&a, &len) == 0);
    CHECK(connect(from, (void *)&a, sizeof a) == 0);
    int set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, in, &event) == 0);
    install(SIGALRM, 0, leave);
    volatile int jumped = 0;
    while (jumped < 1500) {
        if (sigsetjmp(out, 1)) {
            jumped++;
            continue;
        }
        timer(jumped % 2 ? 150 : 700);
        for (int i = 0; i < 100000; i++) {
            char word[8];
            struct pollfd p = {in, POLLIN, 0};
            if (i % 4) send(from, "word", 4, MSG_DONTWAIT);
            recv(in, word, sizeof word, i % 4 ? MSG_DONTWAIT : 0);
            if (i % 3 == 0) poll(&p, 1, 1);
            if (i % 7 == 0) epoll_wait(set, &event, 1, 1);
        }
    }
    timer(0);
    hammer(fd, 1000);
    /* Waits still end as soon as there is something. */
    int other, quick = connection(&other);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, echo, (void *)(intptr_t)other) == 0);
    hammer(quick, 2000);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK(end.tv_sec - start.tv_sec < 5);
}

/* What interrupts a blocking call and what does not. */
static void just_count(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info, (void)context;
    handled++;
}

static void *write_later(void *arg) {
    usleep(200000);
    CHECK(write((int)(intptr_t)arg, "late", 4) == 4);
    return NULL;
}

static void interrupts(void) {
    int other, fd = connection(&other);
    char word[8];
    struct pollfd p = {fd, POLLIN, 0};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    sigset_t old, blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
        install(SIGALRM, flags, just_count);
        timer(20000);
        if (!flags) CHECK(recv(fd, word, 4, 0) == -1 && errno == EINTR);
        CHECK(poll(&p, 1, -1) == -1 && errno == EINTR);
        CHECK(select(fd + 1, &set, NULL, NULL, NULL) == -1 && errno == EINTR);
        FD_SET(fd, &set);
        if (!flags) CHECK(accept(listener, NULL, NULL) == -1 && errno == EINTR);
        int before = handled;
        pthread_t thread;
        pthread_sigmask(SIG_BLOCK, &blocked, &old);
        CHECK(pthread_create(&thread, NULL, write_later, (void *)(intptr_t)other) == 0);
        CHECK(recv(fd, word, 1, 0) == 1);
        CHECK(handled == before);
        timer(20000);
        CHECK(recv(fd, word, 3, MSG_WAITALL) == 3);
        CHECK(ppoll(&p, 1, NULL, &old) == -1 && errno == EINTR);
        CHECK(handled > before);
        pthread_join(thread, NULL);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        timer(20000);
        if (flags) {
            before = handled;
            CHECK(pthread_create(&thread, NULL, write_later, (void *)(intptr_t)other) == 0);
            CHECK(recv(fd, word, 4, MSG_WAITALL) == 4);
            CHECK(handled > before);
            pthread_join(thread, NULL);
        }
        timer(0);
    }
}

/* The other ways to install a handler. */
static void plain(int signal) {
    (void)signal;
    handled++;
}

static void old_ways(void) {
    int fd = connection(NULL), other, quiet = connection(&other);
    char word;
    handled = 0;
    CHECK(sysv_signal(SIGALRM, plain) != SIG_ERR);
    timer(10000);
    CHECK(recv(quiet, &word, 1, 0) == -1 && errno == EINTR);
    timer(0);
    CHECK(handled == 1);
    CHECK(signal(SIGALRM, plain) == SIG_DFL);
    CHECK(signal(SIGALRM, SIG_IGN) == plain);
    CHECK(signal(SIGALRM, plain) == SIG_IGN);
    CHECK(siginterrupt(SIGALRM, 1) == 0);
    timer(10000);
    CHECK(recv(quiet, &word, 1, 0) == -1 && errno == EINTR);
    timer(0);
    CHECK(ssignal(SIGALRM, plain) == plain);
    hammer(fd, 10);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"timers_restarting", timers_restarting},
        {"timers_interrupting", timers_interrupting},
        {"timers_nested", timers_nested},
        {"blocking_handlers", blocking_handlers},
        {"allocations", allocations},
        {"queues", queues},
        {"stacks", stacks},
        {"once", once},
        {"jumps", jumps},
        {"interrupts", interrupts},
        {"old_ways", old_ways},
    };
    CHECK(argc == 3);
    port = atoi(argv[2]);
    main_thread = pthread_self();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            printf("%s: all right\n", argv[1]);
            fflush(stdout);
            /* Stays until it was looked at, with its connections. */
            pause();
        }
    }
    CHECK(!"such a case");
}
