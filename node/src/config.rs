//! What a node is told at its start. `bootstrap` reads it from flags and `config.toml`; nothing in
//! here is ever asked of a peer.

use std::{net::SocketAddr, path::PathBuf};

/// A node's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything that the node keeps is below this directory.
    pub data: PathBuf,
    /// Who runs the node: counted once in every quorum.
    pub operator: String,
    /// Attempts that run at once.
    pub slots: u32,
    /// Multiaddresses to listen on; none for a node that lives for one command.
    pub listen: Vec<String>,
    /// Multiaddresses of members to dial.
    pub peers: Vec<String>,
    /// Whether members are looked for on the local network.
    pub mdns: bool,
    /// Where the read-only pages are served, if anywhere.
    pub http: Option<SocketAddr>,
    /// opam repositories of projects that name none: paths, archives or git URLs.
    pub repositories: Vec<String>,
    /// opam archive mirrors, asked when a package's own sources fail.
    pub archive_mirrors: Vec<String>,
    /// Bases to test on, by name; imported when first needed.
    pub bases: Vec<String>,
    /// When the store is collected, and how far.
    pub store: caravan_store::Marks,
    /// The program to re-execute as the sandbox helper, where it is not this one.
    pub helper: Option<PathBuf>,
}

impl Config {
    /// The defaults of a node that keeps its things in `data`.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            data,
            operator: "local".to_owned(),
            slots: u32::try_from(cores).unwrap_or(1),
            listen: Vec::new(),
            peers: Vec::new(),
            mdns: false,
            http: None,
            repositories: Vec::new(),
            archive_mirrors: Vec::new(),
            bases: vec!["debian-12".to_owned()],
            store: caravan_store::Marks::default(),
            helper: None,
        }
    }

    /// The socket by which the CLI talks to the node.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join("control.sock")
    }
}
