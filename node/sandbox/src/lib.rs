//! The sandbox: runs one command as root of its own users, over an overlay of layers.
//!
//! A [`Launcher`] asks a helper process (this program's own image, started anew, one thread)
//! which keeps a few *cells* ready: empty sandboxes with namespaces of their own for users,
//! processes, mounts, network, IPC, host name and control groups. A job is one [`Spec`] put into
//! a cell; [`OciRuntime`] has an OCI runtime of the host start the commands
//! of such jobs. [`FakeSandbox`] is the scripted stand-in for tests of other rooms.
//!
//! **What the upper directory holds afterwards.** Everything the command wrote, with owners as
//! seen inside (0, 1000, ...), self-contained: whole files, no redirects, no references to
//! layers. A deleted name is a character device 0:0; a directory that replaces one of a layer
//! has the extended attribute `trusted.overlay.opaque` = `y`; no other `trusted.overlay.*`
//! attribute has a meaning that a reader must know. `/dev`, `/proc`, `/sys`, binds, layered
//! directories, secrets and their mount points are not in it, nor are `/tmp`, `/var/tmp` and `/run`
//! where a spec has them as scratch. It may hold set-user-id files, links to anywhere and names of
//! any bytes: it is read by descriptors that follow no link. Its files are not synced to the disk.
//!
//! **Invariants.** No descriptor, environment or path of the node reaches a job. A job's end is
//! reported when its last process is dead and its mounts and control groups are gone. A secret is in
//! memory only, in no message's encoding, and in no core dump of ours. When the
//! node dies, however it dies, its jobs die. A store that other users of the host can enter is
//! refused. `unsafe` is only in `sys.rs`.
//!
//! Never here: what a layer is, where it comes from, what becomes of the upper directory.

mod cell;
mod cgroup;
mod defences;
mod disk;
#[doc(hidden)]
pub mod doors;
pub mod emulation;
mod fake;
mod gate;
mod guard;
mod helper;
mod ids;
mod landlock;
mod launcher;
mod limits;
mod machine;
mod oci;
mod output;
mod probe;
mod promises;
mod rights;
pub mod rootless;
mod sandbox;
mod seccomp;
mod spec;
mod supervisor;
mod sys;
mod wire;

pub use cell::privileges::never_dump;
pub use cgroup::cpu_ms;
pub use defences::{Defence, DefenceError, Defences};
pub use fake::{End, FakeSandbox, Script};
pub use gate::GATE_PORT;
pub use helper::{HELPER_ARG, helper_main, run_as_helper_if_asked};
pub use launcher::Launcher;
pub use oci::{OciError, OciRuntime};
pub use output::{Meter, OutputLimit};
pub use probe::{Abilities, Missing, probe};
pub use promises::{Kept, Lacking, Promises, look, trial};
pub use rights::Rights;
pub use sandbox::{Error, Exit, Killer, Limit, Running, Sandbox, Status};
pub use spec::{
    Bind, Image, JobName, Layered, Limits, Mounts, Network, Root, SecretBytes, SecretFile, Spec,
    SpecError,
};
pub use wire::WireError;
