//! The configuration under which runc runs `true`: of the kind that OBuilder writes for a step without
//! network. All namespaces but that of users, its capabilities, its mounts, and a filter of system
//! calls that allows by default.

/// What OBuilder leaves to root of a step.
const CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Target, kind, source and options of each mount.
const MOUNTS: [(&str, &str, &str, &str); 7] = [
    ("/proc", "proc", "proc", r#""nosuid","noexec","nodev""#),
    (
        "/dev",
        "tmpfs",
        "tmpfs",
        r#""nosuid","strictatime","mode=755","size=65536k""#,
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        r#""nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5""#,
    ),
    (
        "/sys",
        "sysfs",
        "sysfs",
        r#""nosuid","noexec","nodev","ro""#,
    ),
    (
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        r#""ro","nosuid","noexec","nodev""#,
    ),
    (
        "/dev/shm",
        "tmpfs",
        "shm",
        r#""nosuid","noexec","nodev","mode=1777","size=65536k""#,
    ),
    (
        "/dev/mqueue",
        "mqueue",
        "mqueue",
        r#""nosuid","noexec","nodev""#,
    ),
];

/// The text of `config.json`.
pub(crate) fn config() -> String {
    let capabilities = CAPABILITIES
        .map(|name| format!(r#""CAP_{name}""#))
        .join(",");
    let sets = ["bounding", "effective", "inheritable", "permitted"]
        .map(|set| format!(r#""{set}":[{capabilities}]"#))
        .join(",");
    let mounts = MOUNTS
        .map(|(target, kind, source, options)| {
            format!(
                r#"{{"destination":"{target}","type":"{kind}","source":"{source}","options":[{options}]}}"#
            )
        })
        .join(",");
    let namespaces = ["pid", "ipc", "uts", "mount", "network"]
        .map(|kind| format!(r#"{{"type":"{kind}"}}"#))
        .join(",");
    let paths = |paths: &[&str]| {
        let quoted: Vec<String> = paths.iter().map(|path| format!(r#""{path}""#)).collect();
        quoted.join(",")
    };
    let masked = paths(&[
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi",
    ]);
    let read_only = paths(&[
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]);
    format!(
        r#"{{"ociVersion":"1.0.1-dev",
"process":{{"terminal":false,"user":{{"uid":0,"gid":0}},"args":["/bin/true"],"env":["PATH=/bin"],"cwd":"/",
"capabilities":{{{sets}}},"rlimits":[{{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}}],"noNewPrivileges":false}},
"root":{{"path":"rootfs","readonly":false}},"hostname":"builder",
"mounts":[{mounts}],
"linux":{{"namespaces":[{namespaces}],"maskedPaths":[{masked}],"readonlyPaths":[{read_only}],
"seccomp":{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["fsync","fdatasync","msync","sync","syncfs","sync_file_range"],"action":"SCMP_ACT_ERRNO","errnoRet":0}}]}}}}}}
"#
    )
}
