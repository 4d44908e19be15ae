/*
 * The ceiling for the TCP echo service: the least that a correct server with a process for each client does.
 *
 *     accept_fork_echo PORT          (0: any; the first line on stdout tells it)
 *
 * Listens on 127.0.0.1, forks for each connection, echoes until the end of file, _exits. It logs nothing, counts
 * nothing, limits nothing and watches nothing else. Ends on SIGTERM. Built by `cc -O2` in scripts/bench.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUFFER_BYTES 4096

/* Signals merge, so one may stand for several children (signal(7)). */
static void reap(int number)
{
    int saved = errno;
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    errno = saved;
}

static int fail(const char *what)
{
    fprintf(stderr, "accept_fork_echo: %s: %s\n", what, strerror(errno));
    return 1;
}

static int echo(int connection)
{
    char buffer[BUFFER_BYTES];
    for (;;) {
        ssize_t got = read(connection, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0;
        for (ssize_t done = 0; done < got;) {
            ssize_t put = write(connection, buffer + done, (size_t)(got - done));
            if (put < 0 && errno == EINTR)
                continue;
            if (put < 0)
                return 1;
            done += put;
        }
    }
}

static int serve(int listener)
{
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            return fail("accept");
        }
        pid_t child = fork();
        if (child == 0) {
            close(listener);
            _exit(echo(connection));
        }
        if (child < 0)
            fail("fork");
        close(connection);
    }
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long port = argc == 2 ? strtol(argv[1], &end, 10) : -1;
    if (argc != 2 || end == argv[1] || *end != '\0' || port < 0 || port > 65535) {
        fputs("usage: accept_fork_echo PORT\n", stderr);
        return 2;
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = reap;
    action.sa_flags = SA_RESTART | SA_NOCLDSTOP;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGCHLD, &action, NULL) != 0)
        return fail("sigaction");
    action.sa_handler = SIG_IGN;
    if (sigaction(SIGPIPE, &action, NULL) != 0)
        return fail("sigaction");

    struct sockaddr_in address;
    socklen_t length = sizeof address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((unsigned short)port);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    if (listener < 0)
        return fail("socket");
    /* Accepted connections inherit TCP_NODELAY: an answer must not wait for an acknowledgement. */
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        return fail("setsockopt");
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0)
        return fail("bind");
    if (listen(listener, 1024) != 0)
        return fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        return fail("getsockname");
    printf("{\"listening\": \"127.0.0.1:%u\"}\n", ntohs(address.sin_port));
    if (fflush(stdout) != 0)
        return fail("stdout");
    return serve(listener);
}
