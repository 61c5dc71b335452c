//! The bundle of one job: the few fields of an OCI configuration that a job needs.
//!
//! The root is finished when a runtime gets it, mounts included. What of `/proc` is hidden or
//! read-only is so by the root's own mounts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::{
    Dialect, Program,
    calls::{self, Seccomp},
};
use crate::{
    cell::{Unguarded, privileges},
    limits::ID_COUNT,
    spec::Spec,
};

/// The version of the form that runtimes of Debian 12 and later know.
const VERSION: &str = "1.0.2";
/// The name of every job's container: each has a state directory of its own.
pub(crate) const CONTAINER: &str = "job";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    oci_version: &'static str,
    process: Process<'a>,
    root: RootDir<'a>,
    hostname: &'a str,
    mounts: Vec<Mount>,
    linux: Linux,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Process<'a> {
    terminal: bool,
    user: User,
    args: &'a [String],
    env: Vec<String>,
    cwd: &'a Path,
    capabilities: Capabilities,
    rlimits: Vec<ProcessLimit>,
    no_new_privileges: bool,
}

#[derive(Debug, Serialize)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Debug, Serialize)]
struct Capabilities {
    bounding: Vec<String>,
    effective: Vec<String>,
    permitted: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ProcessLimit {
    #[serde(rename = "type")]
    kind: &'static str,
    hard: u64,
    soft: u64,
}

#[derive(Debug, Serialize)]
struct RootDir<'a> {
    path: &'a Path,
}

#[derive(Debug, Serialize)]
struct Mount {
    destination: PathBuf,
    #[serde(rename = "type")]
    kind: &'static str,
    source: PathBuf,
    options: [&'static str; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    uid_mappings: [Mapping; 1],
    gid_mappings: [Mapping; 1],
    namespaces: Vec<Namespace>,
    seccomp: Seccomp,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroups_path: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(rename = "containerID")]
    inside: u32,
    #[serde(rename = "hostID")]
    outside: u32,
    size: u32,
}

#[derive(Debug, Serialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'static str>,
}

/// What a bundle is made of.
pub(crate) struct Bundle<'a> {
    pub(crate) program: &'a Program,
    pub(crate) spec: &'a Spec,
    /// The finished root.
    pub(crate) root: &'a Path,
    /// The name of the job's control groups.
    pub(crate) group: &'a str,
    /// Limits that are left to the process limits of the kernel.
    pub(crate) unguarded: Unguarded,
}

impl Bundle<'_> {
    /// Writes it into a directory of init's own.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        fs::write(dir.join("config.json"), self.encode()?)
    }

    /// `/dev` on itself, so that a runtime makes no devices of its own there; each of its parts by
    /// name, because crun leaves out what is mounted below.
    fn devices(&self) -> Vec<Mount> {
        let parts = ["dev", "dev/pts", "dev/shm"].into_iter();
        let mount = |part| Mount {
            destination: Path::new("/").join(part),
            kind: "bind",
            source: self.root.join(part),
            options: ["rbind"],
        };
        parts.map(mount).collect()
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let spec = self.spec;
        let variables = spec.env.iter();
        let mapping = || {
            [Mapping {
                inside: 0,
                outside: spec.id_base,
                size: ID_COUNT,
            }]
        };
        let config = Config {
            oci_version: VERSION,
            process: Process {
                terminal: false,
                user: User {
                    uid: spec.uid,
                    gid: spec.gid,
                },
                args: &spec.argv,
                env: variables
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect(),
                cwd: &spec.cwd,
                capabilities: capabilities(spec.uid),
                rlimits: self.process_limits(),
                no_new_privileges: !spec.setuid_inside,
            },
            root: RootDir { path: self.root },
            hostname: &spec.hostname,
            mounts: self.devices(),
            linux: Linux {
                uid_mappings: mapping(),
                gid_mappings: mapping(),
                namespaces: namespaces(),
                seccomp: calls::filter(),
                cgroups_path: (self.program.dialect == Dialect::Runc)
                    .then(|| format!("/{}", self.group)),
            },
        };
        serde_json::to_vec(&config).map_err(io::Error::other)
    }

    /// Those that the launcher sets for its commands.
    fn process_limits(&self) -> Vec<ProcessLimit> {
        let limits = &self.spec.limits;
        let mut wanted = vec![
            ("RLIMIT_CORE", Resource::Core, privileges::CORE_BYTES),
            ("RLIMIT_NOFILE", Resource::Nofile, limits.nofile),
            ("RLIMIT_FSIZE", Resource::Fsize, limits.disk_bytes),
        ];
        if let Some(cpu_ms) = limits.cpu_ms {
            let seconds = cpu_ms.div_ceil(1_000) + 1;
            wanted.push(("RLIMIT_CPU", Resource::Cpu, seconds));
        }
        let small = privileges::SMALL.iter();
        wanted.extend(small.filter_map(|(resource, value)| {
            name_of(*resource).map(|name| (name, *resource, *value))
        }));
        if self.unguarded.memory {
            wanted.push(("RLIMIT_AS", Resource::As, limits.memory_bytes));
        }
        if self.unguarded.pids {
            wanted.push(("RLIMIT_NPROC", Resource::Nproc, limits.pids));
        }
        let lower = |(kind, resource, value): (&'static str, Resource, u64)| {
            // Raising one needs a capability that some hosts lack.
            let hard = getrlimit(resource)
                .maximum
                .map_or(value, |hard| hard.min(value));
            ProcessLimit {
                kind,
                hard,
                soft: hard,
            }
        };
        wanted.into_iter().map(lower).collect()
    }
}

fn name_of(resource: Resource) -> Option<&'static str> {
    match resource {
        Resource::Memlock => Some("RLIMIT_MEMLOCK"),
        Resource::Msgqueue => Some("RLIMIT_MSGQUEUE"),
        Resource::Sigpending => Some("RLIMIT_SIGPENDING"),
        Resource::Nice => Some("RLIMIT_NICE"),
        Resource::Rtprio => Some("RLIMIT_RTPRIO"),
        _ => None,
    }
}

/// Those that root of the job has. Another user has none, not even for the moment in which its
/// program is started; set-user-id programs can gain as many.
fn capabilities(uid: u32) -> Capabilities {
    let kept = privileges::KEPT.iter_names();
    let names: Vec<String> = kept.map(|(name, _)| format!("CAP_{name}")).collect();
    let own = if uid == 0 { names.clone() } else { Vec::new() };
    Capabilities {
        bounding: names,
        effective: own.clone(),
        permitted: own,
    }
}

/// Its processes are those of init, so that orphans are buried and the command is not process 1,
/// whose signals mean something else; its network is init's too, with the gate in it.
fn namespaces() -> Vec<Namespace> {
    let own = ["user", "mount", "ipc", "uts", "cgroup"].map(|kind| Namespace { kind, path: None });
    let network = Namespace {
        kind: "network",
        path: Some("/proc/1/ns/net"),
    };
    own.into_iter().chain([network]).collect()
}

/// The directories of a bundle, on a stage of init's own.
#[derive(Debug)]
pub(crate) struct Dirs {
    pub(crate) bundle: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) pid: PathBuf,
}

impl Dirs {
    /// Makes them.
    pub(crate) fn make(stage: &Path) -> io::Result<Self> {
        let dirs = Self {
            bundle: stage.join("bundle"),
            state: stage.join("state"),
            log: stage.join("log"),
            pid: stage.join("pid"),
        };
        fs::create_dir(&dirs.bundle)?;
        fs::create_dir(&dirs.state)?;
        Ok(dirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Root;

    fn config(dialect: Dialect, change: impl FnOnce(&mut Spec)) -> serde_json::Value {
        let root = Root {
            store: "/store".into(),
            lowers: vec!["base".into()],
            upper: "upper".into(),
            work: "work".into(),
        };
        let mut spec = Spec::new("job".parse().unwrap(), root, vec!["true".into()]);
        spec.id_base = 1_000_000;
        change(&mut spec);
        let program = Program {
            path: "/usr/sbin/runc".into(),
            dialect,
        };
        let bundle = Bundle {
            program: &program,
            spec: &spec,
            root: Path::new("/tmp/root"),
            group: "caravan-x.1",
            unguarded: Unguarded {
                memory: false,
                pids: true,
            },
        };
        serde_json::from_slice(&bundle.encode().unwrap()).unwrap()
    }

    #[test]
    fn a_configuration_has_what_the_launcher_gives_a_command() {
        let config = config(Dialect::Runc, |spec| {
            (spec.uid, spec.gid) = (1_000, 1_001);
            spec.limits.nofile = 100;
            spec.limits.pids = 7;
            spec.limits.disk_bytes = 1 << 20;
            spec.limits.cpu_ms = Some(1_500);
        });
        let process = &config["process"];
        assert_eq!(process["user"]["uid"], 1_000);
        assert_eq!(process["noNewPrivileges"], true);
        for set in ["effective", "permitted"] {
            let names = process["capabilities"][set].as_array().unwrap();
            assert!(names.is_empty(), "{names:?}");
        }
        let of_root = self::config(Dialect::Runc, |_| {});
        for (process, set) in [
            (process, "bounding"),
            (&of_root["process"], "effective"),
            (&of_root["process"], "permitted"),
        ] {
            let names = process["capabilities"][set].as_array().unwrap();
            assert!(names.iter().any(|name| name == "CAP_CHOWN"), "{names:?}");
            assert!(
                !names.iter().any(|name| name == "CAP_SYS_ADMIN"),
                "{names:?}"
            );
        }
        let limits = process["rlimits"].as_array().unwrap();
        let limit = |kind: &str| limits.iter().find(|limit| limit["type"] == kind).unwrap();
        assert_eq!(limit("RLIMIT_CORE")["hard"], 1);
        assert_eq!(limit("RLIMIT_NOFILE")["soft"], 100);
        assert_eq!(limit("RLIMIT_NPROC")["hard"], 7);
        assert_eq!(limit("RLIMIT_FSIZE")["hard"], 1 << 20);
        assert_eq!(limit("RLIMIT_CPU")["hard"], 3);
        let linux = &config["linux"];
        assert_eq!(linux["uidMappings"][0]["hostID"], 1_000_000);
        assert_eq!(linux["seccomp"]["defaultErrnoRet"], 38);
        assert_eq!(linux["cgroupsPath"], "/caravan-x.1");
        assert!(!config.to_string().contains("oomScoreAdj"));
    }

    #[test]
    fn only_what_asks_for_it_keeps_set_user_id_programs_alive() {
        let config = config(Dialect::Crun, |spec| spec.setuid_inside = true);
        assert_eq!(config["process"]["noNewPrivileges"], false);
        assert!(config["linux"].get("cgroupsPath").is_none());
    }
}
