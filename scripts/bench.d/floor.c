/* The raw floor of a step, for suite steps: what the kernel alone takes to run /bin/true as process 1
 * of new namespaces (all but that of users), in a root of its own: overlay, pivot_root, /proc. Nothing
 * is shared with what is measured against it.
 *
 * usage: floor LOWER UPPER WORK ROOT OPTIONS
 * For each byte on standard input one such step, and a line on standard output with the nanoseconds
 * from before the clone until the process is dead and its mounts are gone. Each has a stack of vfork:
 * no page table is copied. OPTIONS are further options of the overlay, such as ",volatile". */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char options[16384];
static const char *root;
static char *arguments[] = {"true", NULL};
static char *environment[] = {"PATH=/bin", NULL};

static int fails(const char *what) {
    perror(what);
    _exit(1);
}

static int child(void *nothing) {
    (void)nothing;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) return fails("floor: mounts of its own");
    if (mount("overlay", root, "overlay", 0, options)) return fails("floor: overlay");
    if (chdir(root) || mount("proc", "proc", "proc", 0, NULL)) return fails("floor: /proc");
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
        return fails("floor: pivot_root");
    execve("/bin/true", arguments, environment);
    return fails("floor: /bin/true");
}

int main(int count, char **words) {
    static char stack[65536] __attribute__((aligned(16)));
    const int namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
        | CLONE_NEWCGROUP;
    struct timespec began, ended;
    char order;
    int status;
    if (count != 6) return 2;
    root = words[4];
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s%s", words[1], words[2],
        words[3], words[5]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (read(0, &order, 1) == 1) {
        clock_gettime(CLOCK_MONOTONIC, &began);
        pid_t pid = clone(child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD | namespaces, NULL);
        if (pid < 0 || waitpid(pid, &status, 0) != pid) return fails("floor: clone");
        clock_gettime(CLOCK_MONOTONIC, &ended);
        if (status) return 1;
        printf("%lld\n", (ended.tv_sec - began.tv_sec) * 1000000000LL + ended.tv_nsec - began.tv_nsec);
    }
    return 0;
}
