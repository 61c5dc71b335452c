//! Several nodes in one process, over loopback sockets. Every wait has an upper bound and nothing
//! waits for time to pass.

mod admission;
mod bulk;
mod control;
mod gossip;
pub(crate) mod kit;
mod life;
mod member;
mod nat;
mod relay;
mod relayed;
mod rogue;
mod strangers;
mod swarm;
mod words;
