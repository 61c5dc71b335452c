//! `caravan store`: the store of layers, through the node that holds it or, where none runs,
//! directly.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use caravan_node::{
    control::{Checked, Reply, Request, client::Call},
    home::Home,
    keeping::{self, Amount, Idle, Marks, StoreAsk, StoreTold},
};

use super::{base::answered, block, print_json, socket, unexpected};
use crate::{
    cli::{NodeRun, StoreVerb},
    config,
    error::{CliError, Kind},
    progress::Bar,
    show,
};

mod table;

pub(super) fn run(data: &Path, verb: &StoreVerb) -> Result<ExitCode, CliError> {
    match verb {
        StoreVerb::Check { heal, output } => return check(data, *heal, output.json),
        StoreVerb::Export { tree, to } => return export(data, tree, to),
        StoreVerb::Cat { what, path } => {
            let (what, path) = (what.clone(), path.clone());
            let mut out = io::stdout().lock();
            pieces(data, &StoreAsk::Cat { what, path }, &mut |bytes| {
                out.write_all(bytes)
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let (ask, json) = asked(verb)?;
    let told = match ask_store(data, &ask, &mut |_| Ok(()))? {
        Reply::Done => return Ok(ExitCode::SUCCESS),
        Reply::Store(told) => *told,
        _ => return Err(unexpected()),
    };
    let by_size = matches!(verb, StoreVerb::Ls { by_size: true, .. });
    let dry_run = matches!(
        verb,
        StoreVerb::Gc { dry_run: true, .. } | StoreVerb::Freeze { dry_run: true, .. }
    );
    match told {
        StoreTold::Rows(mut rows) if by_size => {
            rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
            tell(&StoreTold::Rows(rows), json, dry_run)
        }
        told => tell(&told, json, dry_run),
    }
}

/// What a verb asks of a store, and whether the answer is wanted as JSON.
fn asked(verb: &StoreVerb) -> Result<(StoreAsk, bool), CliError> {
    Ok(match verb {
        StoreVerb::Check { .. } | StoreVerb::Export { .. } | StoreVerb::Cat { .. } => {
            return Err(unexpected());
        }
        StoreVerb::Stat(output) => (StoreAsk::Stat, output.json),
        StoreVerb::Gc {
            to,
            dry_run,
            output,
        } => {
            let to = to.as_deref().map(str::parse::<Amount>).transpose();
            let to = to.map_err(|error| CliError::user(error.to_string()))?;
            let dry_run = *dry_run;
            (StoreAsk::Collect { to, dry_run }, output.json)
        }
        StoreVerb::Freeze {
            trees,
            idle,
            dry_run,
            output,
        } => {
            let idle = idle.as_deref().map(str::parse::<Idle>).transpose();
            let idle = idle.map_err(|error| CliError::user(error.to_string()))?;
            let ask = StoreAsk::Freeze {
                what: trees.clone(),
                idle_s: idle.and_then(Idle::seconds),
                dry_run: *dry_run,
            };
            (ask, output.json)
        }
        StoreVerb::Thaw { trees, output } => {
            let what = trees.clone();
            (StoreAsk::Thaw { what }, output.json)
        }
        StoreVerb::Pin {
            what: None, output, ..
        } => (StoreAsk::Pins, output.json),
        StoreVerb::Pin {
            what: Some(what),
            name,
            why,
            output,
        } => {
            let (what, name, why) = (what.clone(), name.clone(), why.clone());
            (StoreAsk::Pin { what, name, why }, output.json)
        }
        StoreVerb::Unpin { name } => (StoreAsk::Unpin { name: name.clone() }, false),
        StoreVerb::Ls {
            tree: None, output, ..
        } => (StoreAsk::Rows, output.json),
        StoreVerb::Ls {
            tree: Some(tree),
            path,
            output,
            ..
        } => {
            let (what, path) = (tree.clone(), path.clone().unwrap_or_default());
            (StoreAsk::Entries { what, path }, output.json)
        }
    })
}

fn tell(told: &StoreTold, json: bool, dry_run: bool) -> Result<ExitCode, CliError> {
    if json {
        return match told {
            StoreTold::Stat(kept) => print_json(kept),
            StoreTold::Rows(rows) => print_json(rows),
            StoreTold::Entries(listed, _) => print_json(listed),
            StoreTold::Pins(pins) => print_json(pins),
            StoreTold::Collected(done) => print_json(done),
            StoreTold::Froze(froze) => print_json(froze),
            StoreTold::Thawed(thawed) => print_json(thawed),
        };
    }
    match told {
        StoreTold::Stat(kept) => table::stat(kept),
        StoreTold::Rows(rows) => table::rows(rows),
        StoreTold::Entries(listed, all) => table::entries(listed, *all),
        StoreTold::Pins(pins) => table::pins(pins),
        StoreTold::Collected(done) => table::collected(done, dry_run),
        StoreTold::Froze(froze) => table::froze(froze, dry_run),
        StoreTold::Thawed(thawed) => table::thawed(thawed),
    }
    Ok(ExitCode::SUCCESS)
}

fn is_running(data: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket(data)).is_ok()
}

type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Asks the node that holds the store, or the store itself. Bytes go to `sink`.
fn ask_store(data: &Path, ask: &StoreAsk, sink: &mut Sink<'_>) -> Result<Reply, CliError> {
    let mut bar = Bar::new();
    let mut broken = None;
    let interrupt = Interrupt::listen(ask);
    let mut take = |reply: Reply| match reply {
        Reply::Progress { what, done, total } => {
            bar.update(&what, done, total);
            !interrupt.has_come()
        }
        Reply::Bytes(bytes) => match sink(&bytes) {
            Ok(()) => true,
            Err(error) => {
                broken = Some(error);
                false
            }
        },
        _ => true,
    };
    let answer = if is_running(data) {
        block(ask_node(data, ask, &mut take))
    } else {
        let home = open(data)?;
        let marks = marks(data);
        keeping::answer(&home.store, &marks, ask, &mut take)
            .map_err(|text| CliError::new(Kind::Node, text))
    };
    drop(bar);
    if interrupt.has_come() {
        // Hanging up stops a node; the store itself was told, and has left nothing half-done.
        eprintln!("interrupted; what was done by then stays done");
        std::process::exit(130);
    }
    match broken {
        // Whoever reads has enough: that is no failure of ours to talk about.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(141),
        Some(error) => Err(CliError::user(format!(
            "write what the store holds: {error}"
        ))),
        None => answer,
    }
}

/// Whether Ctrl-C has come, for what takes its time and is to end in good order.
#[derive(Clone, Default)]
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for what changes the store; whatever else is asked ends at once.
    fn listen(ask: &StoreAsk) -> Self {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        if matches!(
            ask,
            StoreAsk::Freeze { .. } | StoreAsk::Thaw { .. } | StoreAsk::Collect { .. }
        ) {
            std::thread::spawn(move || {
                let _ = block(async {
                    super::node::interrupted().await;
                    Ok(())
                });
                heard.0.store(true, Ordering::Relaxed);
            });
        }
        interrupt
    }

    fn has_come(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn ask_node(
    data: &Path,
    ask: &StoreAsk,
    take: &mut dyn FnMut(Reply) -> bool,
) -> Result<Reply, CliError> {
    let request = Request::Store(ask.clone());
    let mut call = Call::start(&socket(data), &request)
        .await
        .map_err(|error| CliError::node(&error))?;
    while let Some(reply) = call.next().await.map_err(|error| CliError::node(&error))? {
        match reply {
            Reply::Error(text) => return Err(CliError::new(Kind::Node, text)),
            reply @ (Reply::Progress { .. } | Reply::Bytes(_)) => {
                if !take(reply) {
                    return Ok(Reply::Done);
                }
            }
            reply => return Ok(reply),
        }
    }
    Err(unexpected())
}

/// Asks for bytes.
fn pieces(data: &Path, ask: &StoreAsk, sink: &mut Sink<'_>) -> Result<(), CliError> {
    match ask_store(data, ask, sink)? {
        Reply::Done => Ok(()),
        _ => Err(unexpected()),
    }
}

/// The water marks that the node's configuration names; its own trouble is the node's to tell.
fn marks(data: &Path) -> Marks {
    let read = config::read(data.to_owned(), &NodeRun::default());
    read.map(|config| config.store).unwrap_or_default()
}

fn check(data: &Path, heal: bool, json: bool) -> Result<ExitCode, CliError> {
    let checked = if is_running(data) {
        match block(answered(&socket(data), &Request::CheckStore { heal }))? {
            Reply::Check(checked) => checked,
            _ => return Err(unexpected()),
        }
    } else {
        let mut bar = Bar::new();
        let home = open(data)?;
        let mut tell = |done: u64, total: u64| bar.update("checking the store", done, total);
        let report = home
            .store
            .check(heal, &mut tell)
            .map_err(|error| CliError::node(&error))?;
        Checked::from(report)
    };
    if json {
        print_json(&checked)?;
    } else {
        show::checked(&checked, heal);
        for line in &checked.healed {
            say!("{line}");
        }
    }
    Ok(if checked.clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Writes a tree where it is wanted, whole or not at all.
fn export(data: &Path, tree: &str, to: &Path) -> Result<ExitCode, CliError> {
    let ask = StoreAsk::Export {
        what: tree.to_owned(),
    };
    let named = to.as_os_str().as_encoded_bytes();
    if named == b"-" {
        let mut out = io::stdout().lock();
        pieces(data, &ask, &mut |bytes| out.write_all(bytes))?;
        return Ok(ExitCode::SUCCESS);
    }
    let bad = |error: io::Error| CliError::user(format!("write {}: {error}", to.display()));
    let is_dir = to.is_dir() || named.ends_with(b"/");
    if is_dir && to.is_dir() && fs::read_dir(to).map_err(bad)?.next().is_some() {
        return Err(CliError::user(format!(
            "write {}: there are files in it already; give a directory that is new or empty",
            to.display()
        )));
    }
    let part = beside(to).map_err(bad)?;
    let written = if is_dir {
        unpack(data, &ask, &part)
    } else {
        File::create_new(&part).map_err(bad).and_then(|mut file| {
            pieces(data, &ask, &mut |bytes| file.write_all(bytes))?;
            file.sync_all().map_err(bad)
        })
    };
    let placed = written.and_then(|()| fs::rename(&part, to).map_err(bad));
    if placed.is_err() {
        let _ = if is_dir {
            fs::remove_dir_all(&part)
        } else {
            fs::remove_file(&part)
        };
    }
    placed.map(|()| ExitCode::SUCCESS)
}

/// A new name in the same directory.
fn beside(to: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(to)?;
    let name = absolute.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(format!(".part-{}", std::process::id()));
    Ok(absolute.with_file_name(part))
}

fn unpack(data: &Path, ask: &StoreAsk, into: &Path) -> Result<(), CliError> {
    let bad = |error: io::Error| CliError::user(format!("unpack into {}: {error}", into.display()));
    fs::create_dir(into).map_err(bad)?;
    let (reader, mut writer) = io::pipe().map_err(bad)?;
    let unpacked = std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| {
            let mut archive = tar::Archive::new(reader);
            archive.set_preserve_permissions(true);
            archive.set_preserve_ownerships(caravan_node::is_root());
            archive.set_unpack_xattrs(true);
            archive.unpack(into)?;
            // What follows the end is padding, which must be taken all the same.
            io::copy(&mut archive.into_inner(), &mut io::sink()).map(|_| ())
        });
        let mut full = Ok(());
        let mut sink = |bytes: &[u8]| {
            if full.is_ok() {
                full = writer.write_all(bytes);
            }
            // The other side says better what is wrong.
            Ok(())
        };
        let said = pieces(data, ask, &mut sink);
        drop(writer);
        (said, unpacking.join())
    });
    match unpacked {
        (Err(error), _) => Err(error),
        (Ok(()), Ok(done)) => done.map_err(bad),
        (Ok(()), Err(_)) => Err(CliError::user("unpack the tree: the unpacking thread died")),
    }
}

fn open(data: &Path) -> Result<Home, CliError> {
    if !data.join("store").exists() {
        return Err(CliError::user(format!(
            "open the store in {}: there is none yet",
            data.display()
        )));
    }
    Home::open(data).map_err(|error| CliError::node(&error))
}
