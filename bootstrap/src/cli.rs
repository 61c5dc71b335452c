//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A peer-to-peer build mesh: CI for OCaml projects on machines that people share.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where the node keeps everything [default: /var/lib/caravan for root, else
    /// ~/.local/share/caravan]
    #[arg(long, global = true, env = "CARAVAN_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run this machine's node, or ask it how it is
    #[command(subcommand)]
    Node(NodeVerb),
    /// Take a project through CI and show how it goes
    Ci(Ci),
    /// List, show and cancel runs
    #[command(subcommand)]
    Job(JobVerb),
    /// Print a step's log
    Log(Log),
    /// Make a token that lets one machine join this mesh
    Invite(Invite),
    /// Join a mesh with a token from `caravan invite`
    Join(Join),
    /// Import and list the bases that projects are tested on
    #[command(subcommand)]
    Base(BaseVerb),
    /// Look after the store of layers
    #[command(subcommand)]
    Store(StoreVerb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Run the node until Ctrl-C
    Run(NodeRun),
    /// Show the running node, its mesh and its members
    Status(Output),
    /// Ask the running node to stop
    Stop,
    /// Strike a member out for good, as the founding node sees it
    Revoke {
        /// The member: its id, or the first digits of it
        node: String,
    },
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

#[derive(Debug, Args)]
pub(crate) struct Ci {
    /// Directory of a git repository, or its URL
    #[arg(default_value = ".")]
    pub(crate) project: String,
    /// Branch, tag or commit [default: the current head]
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) reference: Option<String>,
    /// opam repository instead of those that the project names: directory, archive or git URL
    #[arg(long, value_name = "PATH-OR-URL")]
    pub(crate) opam_repository: Vec<String>,
    /// opam repository to lay over the others
    #[arg(long, value_name = "DIR")]
    pub(crate) overlay: Vec<String>,
    /// Base to test on: debian-12, debian-13; may be given again
    #[arg(long, value_name = "NAME")]
    pub(crate) base: Vec<String>,
    /// Try again what failed before; what passed is kept
    #[arg(long)]
    pub(crate) rebuild: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args, Default)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobVerb {
    /// List runs, newest first
    List(Output),
    /// Show a run with its steps
    Show {
        /// The run, or the first digits of its id
        run: String,
        #[command(flatten)]
        output: Output,
    },
    /// Give a run up
    Cancel {
        /// The run, or the first digits of its id
        run: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The run, or the first digits of its id
    pub(crate) run: String,
    /// The step: its number or label, as in astring.0.8.5 [default: the one that failed, or the last]
    pub(crate) step: Option<String>,
    /// Follow a log that is being written
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TierArg {
    /// Builds and caches
    Donor,
    /// Also confirms what others claim
    Trusted,
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// Who will run the new node
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: String,
    /// What the new node may do
    #[arg(long, value_enum, default_value = "donor")]
    pub(crate) tier: TierArg,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// What `caravan invite` printed
    pub(crate) token: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BaseVerb {
    /// Make a base anew from this host's Debian mirror and pin it
    Import {
        /// debian-12 or debian-13
        name: String,
    },
    /// List pinned bases with the digests that they were made from
    List(Output),
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// How much is kept
    Stat(Output),
    /// Read everything again and find what is damaged
    Check {
        /// Forget what is damaged, so that it is made or fetched again
        #[arg(long)]
        heal: bool,
        #[command(flatten)]
        output: Output,
    },
}
