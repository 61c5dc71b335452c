//! Several nodes in one process, over loopback sockets. Every wait has an upper bound and nothing
//! waits for time to pass.

mod admission;
mod bulk;
mod control;
mod gossip;
mod kit;
mod life;
mod relay;
mod rogue;
mod strangers;
