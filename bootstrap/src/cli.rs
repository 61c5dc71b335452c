//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod join;
mod node;

pub(crate) use join::{Invite, Join, Lend, Service, ServiceArg, TierArg};
pub(crate) use node::{NodeDrain, NodeInit, NodeLeave, NodeRun, NodeVerb};

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
    /// Run this machine's node, ask it how it is, or tell it what to do
    #[command(subcommand)]
    Node(NodeVerb),
    /// List the members of the mesh: who, where, what they can do, and why they take no work
    Nodes(Output),
    /// List the elected roles: who holds what, since when, and who is next
    Roles(Output),
    /// Take a project through CI and show how it goes
    Ci(Ci),
    /// Build a spec of OBuilder's language, step by step
    Build(Build),
    /// List, show, run again and cancel runs; show what became of a job
    #[command(subcommand)]
    Job(JobVerb),
    /// Show what waits and why, what runs, what goes over the wire and what the cache has saved
    Top(Top),
    /// Print a step's log
    Log(Log),
    /// Make a token that lets one machine join this mesh, or look after those that were made
    Invite(Invite),
    /// Join a mesh with a token from `caravan invite`
    Join(Join),
    /// Import and list the bases that projects are tested on
    #[command(subcommand)]
    Base(BaseVerb),
    /// Import images from registries, layouts, archives and directories, and export them
    #[command(subcommand)]
    Image(ImageVerb),
    /// Look after the store of layers
    #[command(subcommand)]
    Store(StoreVerb),
    /// Run a command with the rights that a node without root has over its own files, such as
    /// `caravan unshare rm -r DIR` for a directory that is no longer wanted
    #[command(hide = true)]
    Unshare {
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
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
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The spec; `-` for standard input
    #[arg(short = 'f', long = "file", value_name = "SPEC")]
    pub(crate) spec: PathBuf,
    /// Directory that `copy` copies from
    #[arg(required_unless_present_any = ["dockerfile", "plan"])]
    pub(crate) dir: Option<PathBuf>,
    /// Value of a secret, in a file; may be given again
    #[arg(long, value_name = "ID:FILE")]
    pub(crate) secret: Vec<String>,
    /// Whose spec it is: projects share neither results nor caches [default: the directory's path]
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Run every step again, even one that passed
    #[arg(long)]
    pub(crate) rebuild: bool,
    /// Write what was built as an OCI image: a directory, or an archive if it ends in .tar
    #[arg(long, value_name = "PATH", conflicts_with_all = ["plan", "dockerfile"])]
    pub(crate) export: Option<PathBuf>,
    /// Print what would be done, and do nothing
    #[arg(long, conflicts_with = "dockerfile")]
    pub(crate) plan: bool,
    /// Print a Dockerfile that does the same, and do nothing
    #[arg(long)]
    pub(crate) dockerfile: bool,
    /// Write caches and secrets too, for BuildKit
    #[arg(long, requires = "dockerfile")]
    pub(crate) buildkit: bool,
    /// How lines of the Dockerfile go on
    #[arg(
        long,
        requires = "dockerfile",
        value_name = "STYLE",
        default_value = "unix"
    )]
    pub(crate) escape: EscapeArg,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Where steps run.
#[derive(Debug, Args, Default)]
pub(crate) struct Place {
    /// Run the steps on this member: its id, or the first digits of it
    #[arg(long, value_name = "NODE")]
    pub(crate) on: Option<String>,
    /// Run no step on this member; may be given again
    #[arg(
        long,
        visible_alias = "not",
        value_name = "NODE",
        conflicts_with = "on"
    )]
    pub(crate) not_on: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EscapeArg {
    /// With a backslash
    Unix,
    /// With a backtick
    Windows,
}

#[derive(Debug, Args, Default)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print one moment as text and end, on a terminal too
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobVerb {
    /// List runs, newest first
    List(Output),
    /// Show a run with its steps; or where a job ran, what each attempt at it did, and why there
    Show {
        /// The run or the job: its id, or the first digits of it
        what: String,
        /// The step of that run whose job is shown: its number or label, as in astring.0.8.5
        step: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Try again what failed in a run, on or not on a node; what passed is kept
    Run {
        /// The run, or the first digits of its id
        run: String,
        #[command(flatten)]
        place: Place,
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
    /// Begin at this byte of the log; a negative one is counted from the end
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "tail"
    )]
    pub(crate) offset: Option<i64>,
    /// Begin with the last N lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u64>,
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
pub(crate) enum ImageVerb {
    /// Import an image as a base
    Import(ImageImport),
    /// Write a base or tree as an OCI layout; equal trees give equal bytes
    Export(ImageExport),
}

#[derive(Debug, Args)]
pub(crate) struct ImageImport {
    /// What the base is called
    pub(crate) name: String,
    /// docker://HOST/REPOSITORY[:TAG][@DIGEST], oci:DIR[:TAG], or the path of an OCI layout, of a root
    /// file system's archive (.tar, .gz, .zst, .xz) or of its directory
    pub(crate) source: String,
    /// Platform, as linux/arm64 or linux-arm64 [default: this node's]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Ask the registry without encryption
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Names and passwords of registries, a file as Docker's config.json
    #[arg(long, value_name = "FILE")]
    pub(crate) auth_file: Option<PathBuf>,
    /// Certificate authorities to believe instead of the system's, a PEM file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// What is in it, as in ocaml=5.2.0; may be given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) fact: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ImageExport {
    /// A base's name, or a tree's id
    pub(crate) what: String,
    /// Directory of the layout, or its archive if it ends in .tar; neither may be there
    pub(crate) to: PathBuf,
    /// Tree to add as a layer above; may be given again
    #[arg(long, value_name = "TREE")]
    pub(crate) layer: Vec<String>,
    /// The image's name in the layout
    #[arg(long, value_name = "TAG", default_value = "latest")]
    pub(crate) tag: String,
    /// Compress layers with zstd instead of gzip
    #[arg(long)]
    pub(crate) zstd: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// How much is kept
    Stat(Output),
    /// Read everything again and find what is damaged
    Check {
        /// Forget what is damaged, so that it is made or fetched again; what is pinned is fetched
        /// from members at once
        #[arg(long)]
        heal: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Make room: forget what is worth least, and remove what nothing names
    Gc {
        /// What the store may hold afterwards: 200GiB, or 70% of its file system [default: the low
        /// water mark]
        #[arg(long, value_name = "AMOUNT")]
        to: Option<String>,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Put trees into packs, the cold form, and give their mountable form up; wanted again, they
    /// thaw by themselves
    Freeze {
        /// The trees: ids, the first digits of them, or names of pins
        #[arg(required_unless_present = "idle")]
        trees: Vec<String>,
        /// All trees that were not used for so many days
        #[arg(long, value_name = "DAYS")]
        idle: Option<String>,
        /// Only say what would be frozen
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Make frozen trees mountable again
    Thaw {
        /// The trees: ids, the first digits of them, or names of pins
        #[arg(required = true)]
        trees: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Keep a tree or blob from being collected; without one, list what is pinned
    Pin {
        /// The tree or blob: its id, the first digits of it, or the name of a pin
        what: Option<String>,
        /// What the pin is called [default: the first digits of the id]
        #[arg(long, value_name = "NAME", requires = "what")]
        name: Option<String>,
        /// Why, for those who find it later
        #[arg(long, value_name = "WORDS", default_value = "", requires = "what")]
        why: String,
        #[command(flatten)]
        output: Output,
    },
    /// Take a pin away
    Unpin {
        /// Its name
        name: String,
    },
    /// List layers and trees by their last use, or the files of a tree
    Ls {
        /// The tree: its id, the first digits of it, or the name of a pin
        tree: Option<String>,
        /// A path in it [default: its root]
        path: Option<String>,
        /// The largest first
        #[arg(long, conflicts_with = "tree")]
        by_size: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Print a blob, or a file of a tree
    Cat {
        /// The blob or tree: its id, the first digits of it, or the name of a pin
        what: String,
        /// The file's path in the tree
        path: Option<String>,
    },
    /// Write a tree as a tar archive or a directory
    Export {
        /// The tree: its id, the first digits of it, or the name of a pin
        tree: String,
        /// The archive; `-` for standard output; a directory if it is one or ends with `/`
        to: PathBuf,
    },
}
