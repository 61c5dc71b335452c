//! What is said to a node.

use clap::{Args, Subcommand};

use super::{Lend, Output, Service};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Found a mesh of this machine alone, its own council, to invite others to
    Init(NodeInit),
    /// Run the node until Ctrl-C
    Run(NodeRun),
    /// Show the running node, its mesh and its members
    Status(Output),
    /// Take no new work until `resume`; what runs goes on
    Pause {
        /// Why, for those who look at this node
        why: Vec<String>,
    },
    /// Take work again
    Resume,
    /// Take no new work, finish what runs, then leave the mesh in order and stop
    Drain(NodeDrain),
    /// Leave the mesh for good and take everything of the node away from this machine
    Leave(NodeLeave),
    /// Give a member no more work, as the founding node sees it
    Cordon {
        /// The member: its id, or the first digits of it
        node: String,
        /// Why, for those who look at it
        why: Vec<String>,
    },
    /// Give a cordoned member work again
    Uncordon {
        /// The member: its id, or the first digits of it
        node: String,
    },
    /// Ask for a new certificate now; it happens by itself long before the old one ends
    Renew,
    /// Ask the running node to stop
    Stop,
    /// Strike a member out for good, as the founding node sees it
    Revoke {
        /// The member: its id, or the first digits of it
        node: String,
    },
}

/// How a mesh is founded.
#[derive(Debug, Args)]
pub(crate) struct NodeInit {
    /// Who runs this node [default: the operator of config.toml, or `local`]
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: Option<String>,
    /// Port for other nodes, TCP and QUIC
    #[arg(long, value_name = "PORT", default_value_t = 4100)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) lend: Lend,
    #[command(flatten)]
    pub(crate) service: Service,
}

/// How a node is run. Each overrides its line in config.toml.
#[derive(Debug, Args, Default)]
pub(crate) struct NodeRun {
    /// Who runs this node
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: Option<String>,
    /// Steps that run at once [default: one for each core]
    #[arg(long, value_name = "N")]
    pub(crate) slots: Option<u32>,
    /// Where pages are served; `none` for nowhere
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) http: String,
    /// Port for other nodes, TCP and QUIC; without it the node is alone unless it has joined a mesh
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Multiaddress to listen on instead, such as /ip4/192.0.2.1/tcp/4100; may be given again
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<String>,
    /// Multiaddress of a member to dial; may be given again
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) peer: Vec<String>,
    /// Look for members on the local network
    #[arg(long)]
    pub(crate) mdns: bool,
    /// opam repository of projects that name none: directory, archive or git URL; may be repeated
    #[arg(long, value_name = "PATH-OR-URL")]
    pub(crate) opam_repository: Vec<String>,
}

/// How a node comes to its end.
#[derive(Debug, Args)]
pub(crate) struct NodeDrain {
    /// Give up what runs; other nodes do it again
    #[arg(long)]
    pub(crate) now: bool,
}

/// How a node leaves for good.
#[derive(Debug, Args)]
pub(crate) struct NodeLeave {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Keep what was built, for another mesh that this directory may join
    #[arg(long)]
    pub(crate) keep_store: bool,
    /// Give up what runs; other nodes do it again
    #[arg(long)]
    pub(crate) now: bool,
    /// Go though this is the founding node of a mesh with other members: it ends with their certificates
    #[arg(long)]
    pub(crate) end_mesh: bool,
}
