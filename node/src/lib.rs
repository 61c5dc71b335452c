//! A node: it hosts policies, takes part in the market, builds in sandboxes, serves its store to
//! peers, and answers the CLI and the read-only pages. It knows `trait Policy` and not one policy
//! by name; `bootstrap` hands those in.

pub mod config;
pub mod control;
#[doc(hidden)]
pub mod doors;
pub mod home;
pub mod images;
pub mod invites;
pub mod keeping;
pub mod leaving;
pub mod task;

mod build;
mod clock;
mod driver;
mod facts;
mod gateway;
mod mode;
mod node;
mod promise;
mod renewal;

/// What `main` needs of the sandbox, before any thread exists.
pub use caravan_sandbox::{
    Error as SandboxError, Launcher, Rights, never_dump,
    rootless::{Lack, RootlessError, restart_inside, run_inside},
    run_as_helper_if_asked,
};
pub use config::Config;
pub use driver::{Handle, Refusal};
pub use node::{Node, NodeError};

/// Whether this program runs as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
