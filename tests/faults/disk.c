/* A disk that can fail, and a record of what is on it for sure. Preloaded into the server (LD_PRELOAD).
 *
 * DISK_FAIL_WHEN=FILE  once FILE exists, every sync fails with EIO (only of files whose path ends in DISK_FAIL_OF, if set);
 *                      with DISK_KILL the process dies instead, by SIGKILL, when it asks for the sync
 * DISK_FULL_WHEN=FILE  while FILE exists, no file grows any more (ENOSPC), as on a full disk; what it has may be written
 * DISK_READ_ONLY_WHEN=FILE   while FILE exists, nothing is written (EROFS), as where the kernel has found an error
 * DISK_SLOW_MS=N       every sync of a log takes so much longer
 * DISK_KEEP=DIR        DIR/NAME holds what a power failure would at least leave of the file NAME: its content as it was
 *                      when the last successful sync of it began (files that are open for reading and writing)
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static void must(int good, const char *what)
{
    if (!good) {
        perror(what);
        abort();
    }
}

static void copy(int fd, const char *to)
{
    static char buffer[1 << 16];
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(out >= 0, to);
    ssize_t n;
    off_t at = 0;
    while ((n = pread(fd, buffer, sizeof buffer, at)) > 0) {
        must(write(out, buffer, n) == n, to);
        at += n;
    }
    must(n == 0, to);
    close(out);
}

static int sync_file(long call, int fd)
{
    char link[64], path[PATH_MAX], kept[PATH_MAX + 300], part[PATH_MAX + 310];
    const char *when = getenv("DISK_FAIL_WHEN"), *of = getenv("DISK_FAIL_OF"), *keep = getenv("DISK_KEEP");
    struct stat about;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    if (getenv("DISK_SLOW_MS") && strstr(path, "wal"))
        usleep(1000 * atoi(getenv("DISK_SLOW_MS")));
    if (when && access(when, F_OK) == 0 && (!of || ends_with(path, of))) {
        if (getenv("DISK_KILL"))
            kill(getpid(), SIGKILL);
        errno = EIO;
        return -1;
    }
    /* Read through the descriptor itself: closing another one of the same file would drop SQLite's locks on it. */
    if (!keep || fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
        return syscall(call, fd);
    /* Copied before, published after: whatever else is written meanwhile, what was copied is on the disk then. */
    pthread_mutex_lock(&turn);
    snprintf(kept, sizeof kept, "%s/%s", keep, strrchr(path, '/') + 1);
    snprintf(part, sizeof part, "%s.part", kept);
    copy(fd, part);
    int result = syscall(call, fd), why = errno;
    if (result == 0)
        must(rename(part, kept) == 0, kept);
    pthread_mutex_unlock(&turn);
    errno = why;
    return result;
}

int fsync(int fd)
{
    return sync_file(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_file(SYS_fdatasync, fd);
}

static int holds(const char *name)
{
    return getenv(name) && access(getenv(name), F_OK) == 0;
}

ssize_t pwrite64(int fd, const void *what, size_t n, off64_t at)
{
    struct stat about;
    int refused = holds("DISK_READ_ONLY_WHEN") ? EROFS : 0;

    if (!refused && holds("DISK_FULL_WHEN") && fstat(fd, &about) == 0 && at + (off64_t)n > about.st_size)
        refused = ENOSPC;
    if (refused) {
        errno = refused;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, what, n, at);
}
