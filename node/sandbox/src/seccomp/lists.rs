//! The lists of system calls. What is on none is unknown to a job: among it the older calls for
//! files that are read while one waits, whose rings the kernel counts for the whole host, and those of
//! Landlock, whose rules hold files that have no name any more where nobody can count them; and the one
//! call for all of sockets that s390x has beside those for each, whose arguments no filter can read.

use super::numbers as libc;

/// Calls that builds make; those of the last part do not exist on every processor.
#[rustfmt::skip]
pub(crate) const ALLOWED: &[i64] = &[
    libc::SYS_read, libc::SYS_write, libc::SYS_close, libc::SYS_fstat, libc::SYS_lseek,
    libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_munmap, libc::SYS_brk, libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_ioctl, libc::SYS_pread64,
    libc::SYS_pwrite64, libc::SYS_readv, libc::SYS_writev, libc::SYS_sched_yield,
    libc::SYS_mremap, libc::SYS_msync, libc::SYS_mincore, libc::SYS_madvise, libc::SYS_shmget,
    libc::SYS_shmat, libc::SYS_shmctl, libc::SYS_dup, libc::SYS_nanosleep, libc::SYS_getitimer,
    libc::SYS_setitimer, libc::SYS_getpid, libc::SYS_sendfile, libc::SYS_socket,
    libc::SYS_connect, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg,
    libc::SYS_recvmsg, libc::SYS_shutdown, libc::SYS_bind, libc::SYS_listen,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_socketpair, libc::SYS_setsockopt,
    libc::SYS_getsockopt, libc::SYS_clone, libc::SYS_execve, libc::SYS_exit, libc::SYS_wait4,
    libc::SYS_kill, libc::SYS_uname, libc::SYS_semget, libc::SYS_semctl,
    libc::SYS_shmdt, libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_msgctl,
    libc::SYS_fcntl, libc::SYS_flock, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_truncate,
    libc::SYS_ftruncate, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_fchmod,
    libc::SYS_fchown, libc::SYS_umask, libc::SYS_gettimeofday, libc::SYS_getrusage,
    libc::SYS_sysinfo, libc::SYS_times, libc::SYS_getuid, libc::SYS_getgid, libc::SYS_setuid,
    libc::SYS_setgid, libc::SYS_geteuid, libc::SYS_getegid, libc::SYS_setpgid, libc::SYS_getppid,
    libc::SYS_setsid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_getgroups,
    libc::SYS_setgroups, libc::SYS_setresuid, libc::SYS_getresuid, libc::SYS_setresgid,
    libc::SYS_getresgid, libc::SYS_getpgid, libc::SYS_setfsuid, libc::SYS_setfsgid,
    libc::SYS_getsid, libc::SYS_capget, libc::SYS_capset, libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack, libc::SYS_personality, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_getpriority, libc::SYS_setpriority, libc::SYS_sched_setparam,
    libc::SYS_sched_getparam, libc::SYS_sched_setscheduler, libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval, libc::SYS_mlock, libc::SYS_munlock, libc::SYS_mlockall,
    libc::SYS_munlockall, libc::SYS_prctl, libc::SYS_chroot, libc::SYS_gettid,
    libc::SYS_readahead, libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr,
    libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr, libc::SYS_listxattr,
    libc::SYS_llistxattr, libc::SYS_flistxattr, libc::SYS_removexattr, libc::SYS_lremovexattr,
    libc::SYS_fremovexattr, libc::SYS_tkill, libc::SYS_futex, libc::SYS_sched_setaffinity,
    libc::SYS_sched_getaffinity, libc::SYS_remap_file_pages, libc::SYS_getdents64,
    libc::SYS_set_tid_address, libc::SYS_restart_syscall, libc::SYS_semtimedop,
    libc::SYS_fadvise64, libc::SYS_timer_create, libc::SYS_timer_settime, libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun, libc::SYS_timer_delete, libc::SYS_clock_gettime,
    libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_exit_group, libc::SYS_epoll_ctl,
    libc::SYS_tgkill, libc::SYS_mbind, libc::SYS_set_mempolicy, libc::SYS_get_mempolicy,
    libc::SYS_mq_open, libc::SYS_mq_unlink, libc::SYS_mq_timedsend, libc::SYS_mq_timedreceive,
    libc::SYS_mq_notify, libc::SYS_mq_getsetattr, libc::SYS_waitid, libc::SYS_ioprio_set,
    libc::SYS_ioprio_get, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    libc::SYS_openat, libc::SYS_mkdirat, libc::SYS_mknodat, libc::SYS_fchownat,
    libc::SYS_newfstatat, libc::SYS_unlinkat, libc::SYS_linkat, libc::SYS_symlinkat,
    libc::SYS_readlinkat, libc::SYS_fchmodat, libc::SYS_faccessat, libc::SYS_pselect6,
    libc::SYS_ppoll, libc::SYS_unshare, libc::SYS_set_robust_list, libc::SYS_get_robust_list,
    libc::SYS_splice, libc::SYS_tee, libc::SYS_vmsplice,
    libc::SYS_utimensat, libc::SYS_epoll_pwait, libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime, libc::SYS_accept4, libc::SYS_signalfd4,
    libc::SYS_eventfd2, libc::SYS_epoll_create1, libc::SYS_dup3, libc::SYS_pipe2,
    libc::SYS_inotify_init1, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_recvmmsg, libc::SYS_prlimit64, libc::SYS_syncfs, libc::SYS_sendmmsg,
    libc::SYS_getcpu, libc::SYS_sched_setattr, libc::SYS_sched_getattr, libc::SYS_renameat2,
    libc::SYS_seccomp, libc::SYS_getrandom, libc::SYS_memfd_create, libc::SYS_execveat,
    libc::SYS_membarrier, libc::SYS_mlock2, libc::SYS_copy_file_range, libc::SYS_preadv2,
    libc::SYS_pwritev2, libc::SYS_pkey_mprotect, libc::SYS_pkey_alloc, libc::SYS_pkey_free,
    libc::SYS_statx, libc::SYS_rseq, libc::SYS_pidfd_send_signal, libc::SYS_pidfd_open,
    libc::SYS_close_range, libc::SYS_openat2, libc::SYS_faccessat2, libc::SYS_process_madvise,
    libc::SYS_epoll_pwait2, libc::SYS_process_mrelease, libc::SYS_futex_waitv, libc::SYS_fchmodat2,
    libc::SYS_mseal,
    #[cfg(not(target_arch = "s390x"))]
    libc::SYS_accept,
    #[cfg(not(any(target_arch = "powerpc64", target_arch = "s390x")))]
    libc::SYS_semop,
    #[cfg(not(target_arch = "powerpc64"))]
    libc::SYS_sync_file_range,
    #[cfg(target_arch = "powerpc64")]
    libc::SYS_sync_file_range2,
    // What C libraries for old kernels make of the calls of System V, in the job's own namespace.
    #[cfg(any(target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_ipc,
    // How a handler of the plain kind returns.
    #[cfg(target_arch = "s390x")]
    libc::SYS_sigreturn,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_open,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_stat,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_lstat,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_poll,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_access,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_pipe,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_select,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_dup2,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_pause,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_alarm,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_fork,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_vfork,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_getdents,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_rename,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_mkdir,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_rmdir,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_creat,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_link,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_unlink,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_symlink,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_readlink,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_chmod,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_chown,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_lchown,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_getpgrp,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_utime,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64"))]
    libc::SYS_time,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_epoll_create,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_epoll_wait,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_utimes,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_inotify_init,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_futimesat,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_signalfd,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_eventfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_set_thread_area,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_get_thread_area,
    #[cfg(any(target_arch = "x86_64", target_arch = "riscv64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_getrlimit,
    #[cfg(any(target_arch = "x86_64", target_arch = "riscv64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_setrlimit,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_renameat,
];

/// Calls that exist and are refused by name: other mounts and namespaces, other processes'
/// memory, kernel modules and programs, keys, clocks, and rings that work past the filter.
#[rustfmt::skip]
pub(crate) const DENIED: &[i64] = &[
    libc::SYS_ptrace, libc::SYS_syslog, libc::SYS_vhangup, libc::SYS_pivot_root, libc::SYS_acct,
    libc::SYS_settimeofday, libc::SYS_adjtimex, libc::SYS_mount, libc::SYS_umount2,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_reboot, libc::SYS_sethostname,
    libc::SYS_setdomainname, libc::SYS_init_module, libc::SYS_delete_module,
    libc::SYS_finit_module, libc::SYS_quotactl, libc::SYS_clock_settime, libc::SYS_clock_adjtime,
    libc::SYS_kexec_load, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    libc::SYS_migrate_pages, libc::SYS_move_pages, libc::SYS_perf_event_open,
    libc::SYS_fanotify_init, libc::SYS_fanotify_mark, libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at, libc::SYS_setns, libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev, libc::SYS_kcmp, libc::SYS_bpf, libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig,
    libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_pidfd_getfd, libc::SYS_mount_setattr,
    libc::SYS_quotactl_fd, libc::SYS_memfd_secret, libc::SYS_set_mempolicy_home_node,
    libc::SYS_nfsservctl, libc::SYS_lookup_dcookie,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "powerpc64"))]
    libc::SYS_kexec_file_load,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64"))]
    libc::SYS_iopl,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64"))]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_uselib,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_ustat,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS_sysfs,
    #[cfg(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x"))]
    libc::SYS__sysctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vserver,
];
