//! What a node does to and asks of the world outside the mesh: git repositories, source archives,
//! base images from the host's package mirror. Each is a small module with its own errors; none
//! knows a store, a sandbox or a policy. Programs of the host (`git`, `curl`, `apt-get`,
//! `mmdebstrap`) run with a bounded time and output and die with their caller.

pub mod archive;
pub mod base;
#[doc(hidden)]
pub mod doors;
pub mod fetch;
pub mod git;
pub mod program;
