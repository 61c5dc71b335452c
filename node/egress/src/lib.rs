//! What a job may reach of the network: a proxy at its gate, and nothing else.
//!
//! A job has no route. The sandbox hands the node one listening socket of the job's own loopback,
//! and a [`Session`] serves it as long as the job runs: either an allow-listed way out
//! ([`Egress::host`]), or the files that the job declared by their digests ([`Egress::fetch`]).
//!
//! - [`policy`] decides, and touches nothing: which names and ports, and which of the addresses that
//!   a name resolves to.
//! - `proxy` does: it reads one request from each connection, asks the policy, connects to exactly the
//!   address that was judged, and counts every byte against the job's budget.
//! - `fetch` serves declared files out of a [`Source`], whole and checked before the first byte leaves.
//!
//! **Invariants.** No byte of a job reaches an address that the policy did not judge in that very
//! connection. A request that is not understood to the last byte is answered and not forwarded. Whoever
//! is refused is told why, and so is the job's log. Everything ends with its session.
//!
//! Never here: what a job is, how it is isolated, where declared bytes come from.

#[doc(hidden)]
pub mod doors;
mod environment;
mod fetch;
mod limits;
pub mod policy;
mod proxy;
mod session;

pub use environment::{SUDOERS, variables};
pub use fetch::{Bring, Offered, Source};
pub use limits::{BYTES_DEFAULT, DESCRIPTORS_MAX, Times};
pub use policy::{Config, Policy, PolicyError, Refusal};
pub use proxy::{
    dial::{Resolve, Resolved, SystemResolver},
    upstream::{Upstream, UpstreamError},
};
pub use session::{Egress, Note, Session, Tell};
