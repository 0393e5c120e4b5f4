/* The cheapest worker there is: append {CLOCK_MONOTONIC in ns, pid} to the log given, then wait for a signal. */
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t record[2] = {now.tv_sec * 1000000000LL + now.tv_nsec, getpid()};
    int log = argc == 2 ? open(argv[1], O_WRONLY | O_APPEND) : -1;
    if (log < 0 || write(log, record, sizeof record) != sizeof record) return 111;
    close(log);
    for (;;) pause();
}
