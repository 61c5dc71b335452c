//! Collecting what a hostile step has left: by our store's own adoption from a real step's upper
//! directory, and, to see that each leaving works at all, by a collector that goes by names as a script
//! or `cp -a` does, from a step in a chroot.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use caravan_protocol::{
    ids::TreeId,
    tree::{Entry, Kind},
};
use caravan_sandbox::{Launcher, Root, Sandbox as _, Spec, Status};
use caravan_store::Store;

use crate::{
    Failure,
    attempt::Verdict,
    host::STORE,
    leavings::{LEAVINGS, Leaving},
    places::{Place, output},
    raw::{self, Arg},
};

/// What the canary holds.
const CANARY: &str = "/canary/secret";
/// Largest size that anybody believes, bytes.
const SIZE_MAX: u64 = 1 << 40;
/// A user of the host who is nobody.
const NOBODY: u32 = 65_534;
/// How often a collector that goes by names looks, to meet a swap.
const LOOKS: usize = 5_000;
/// Longest path that calls take.
const PATH_MAX: usize = 4_096;

/// Has each leaving left and collected.
///
/// # Errors
/// If nothing could be collected.
pub fn run(place: Place) -> Result<Vec<(String, Verdict)>, Failure> {
    let field = match place {
        Place::Ours => Some(Field::new()?),
        Place::Chroot => None,
        _ => return Ok(Vec::new()),
    };
    let verdict = |leaving: &Leaving| match &field {
        Some(field) => field.collect(leaving),
        None => by_names(leaving),
    };
    LEAVINGS
        .iter()
        .map(|leaving| Ok((leaving.id.to_owned(), verdict(leaving)?)))
        .collect()
}

/// A store with one base, and a launcher.
struct Field {
    store: Store,
    base: TreeId,
    launcher: Launcher,
    token: Vec<u8>,
}

impl Field {
    fn new() -> Result<Self, Failure> {
        let launcher = Launcher::spawn()?;
        let store = Store::open(&Path::new(STORE).join("kept"))?;
        let workspace = store.workspace()?;
        let upper = workspace.upper();
        // Without the device file that other attempts are about.
        let copied = Command::new("cp")
            .arg("-a")
            .arg(format!("{STORE}/base/."))
            .arg(&upper)
            .status()?;
        let _ = fs::remove_file(upper.join("etc/layer-disk"));
        if !copied.success() {
            return Err("copy the base".into());
        }
        let base = workspace.ingest()?.tree;
        Ok(Self {
            store,
            base,
            launcher,
            token: fs::read(CANARY)?,
        })
    }

    fn spec(
        &self,
        upper: &Path,
        work: &Path,
        layers: &[TreeId],
        argv: &[&str],
    ) -> Result<Spec, Failure> {
        let stack = self.store.stack(self.base, layers)?;
        let dir = self.store.dir();
        let inside = |path: &Path| path.strip_prefix(dir).map(Path::to_owned);
        let lowers: Result<Vec<PathBuf>, _> =
            stack.lowers.iter().map(|path| inside(path)).collect();
        let root = Root {
            store: dir.to_owned(),
            lowers: lowers?,
            upper: inside(upper)?,
            work: inside(work)?,
        };
        let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
        Ok(Spec::new("leaving".parse()?, root, argv))
    }

    fn collect(&self, leaving: &Leaving) -> Result<Verdict, Failure> {
        let workspace = self.store.workspace()?;
        let argv = ["/bin/attempts", "leave", leaving.id];
        let spec = self.spec(&workspace.upper(), &workspace.work(), &[], &argv)?;
        let mut running = self.launcher.start(&spec)?;
        let mut said = String::new();
        output(&mut running)?.read_to_string(&mut said)?;
        let exit = running.wait()?;
        if exit.status != Status::Code(0) && !said.starts_with("failed") {
            return Ok(Verdict::Stopped(format!("inside: {:?}", exit.status)));
        }
        if said.starts_with("failed") {
            return Ok(Verdict::Stopped(format!("inside: {}", said.trim())));
        }
        match workspace.ingest() {
            Err(error) => Ok(Verdict::Stopped(format!("refused: {error}"))),
            Ok(kept) => self.look(kept.tree),
        }
    }

    /// What a layer that was kept holds, and what it lets others do.
    fn look(&self, layer: TreeId) -> Result<Verdict, Failure> {
        if fs::read(CANARY)? != self.token {
            return Ok(Verdict::Through("the canary was changed".to_owned()));
        }
        for entry in self.store.tree(layer)?.entries() {
            if let Some(how) = self.forbidden(entry)? {
                return Ok(Verdict::Through(how));
            }
        }
        let path = self.store.materialise(layer)?.join("out/result");
        if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            if runs_for_nobody(&path) {
                return Ok(Verdict::Through(
                    "another user of the host could run it".to_owned(),
                ));
            }
            if self.gives_rights(layer)? {
                return Ok(Verdict::Through(
                    "a later step gained rights by it".to_owned(),
                ));
            }
        }
        Ok(Verdict::Stopped("kept, and harmless".to_owned()))
    }

    fn forbidden(&self, entry: &Entry) -> Result<Option<String>, Failure> {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        if entry
            .path
            .split(|byte| *byte == b'/')
            .any(|part| part == b"..")
        {
            return Ok(Some(format!("{shown} leads out")));
        }
        let kept = |name: &[u8]| {
            name == b"security.capability"
                || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        };
        if let Some(name) = entry.xattrs.keys().find(|name| !kept(name)) {
            return Ok(Some(format!(
                "{shown} has {}",
                String::from_utf8_lossy(name)
            )));
        }
        match &entry.kind {
            Kind::File { size, .. } if *size > SIZE_MAX => {
                Ok(Some(format!("{shown} has {size} bytes")))
            }
            Kind::File { blob, size } => {
                let bytes = self.store.read_blob(*blob, *size)?;
                let found = bytes
                    .windows(self.token.len())
                    .any(|part| part == self.token)
                    && entry.path != b"bin/attempts";
                // The program that was copied knows no token: it is told.
                Ok(found.then(|| format!("the canary's token is in {shown}")))
            }
            _ => Ok(None),
        }
    }

    /// A later step of a plain user runs what was left.
    fn gives_rights(&self, layer: TreeId) -> Result<bool, Failure> {
        let workspace = self.store.workspace()?;
        let argv = ["/out/result", "whoami", "-"];
        let mut spec = self.spec(&workspace.upper(), &workspace.work(), &[layer], &argv)?;
        (spec.uid, spec.gid) = (1_000, 1_000);
        let mut running = self.launcher.start(&spec)?;
        let mut said = String::new();
        output(&mut running)?.read_to_string(&mut said)?;
        running.wait()?;
        Ok(said
            .split_whitespace()
            .any(|word| word == "root" || word == "rights"))
    }
}

/// Whether a user of the host without any right can start the file where it lies.
fn runs_for_nobody(path: &Path) -> bool {
    let mut command = Command::new(path);
    command
        .args(["whoami", "-"])
        .uid(NOBODY)
        .gid(NOBODY)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok()
}

/// A step in a chroot, and a collector that goes by names.
fn by_names(leaving: &Leaving) -> Result<Verdict, Failure> {
    let root = Path::new(STORE).join("names.root");
    let _ = Command::new("chattr")
        .args(["-R", "-f", "-i", "-a"])
        .arg(&root)
        .output();
    let _ = Command::new("rm").arg("-rf").arg(&root).status();
    Command::new("cp")
        .arg("-a")
        .arg(format!("{STORE}/base"))
        .arg(&root)
        .status()?;
    let done = Command::new("chroot")
        .arg(&root)
        .args(["/bin/attempts", "leave", leaving.id])
        .stdin(Stdio::null())
        .output()?;
    if !done.status.success() {
        return Ok(Verdict::Stopped(
            String::from_utf8_lossy(&done.stdout).trim().to_owned(),
        ));
    }
    let token = fs::read(CANARY)?;
    let result = root.join("out/result");
    let first = plain(&result);
    for _ in 0..LOOKS {
        let now = plain(&result);
        if now == token || fs::read(root.join("out/secret")).is_ok_and(|bytes| bytes == token) {
            return Ok(Verdict::Through(
                "the canary's token was collected".to_owned(),
            ));
        }
        if leaving.id == "output.still-written" && now != first && !now.is_empty() {
            return Ok(Verdict::Through("it changed after it was read".to_owned()));
        }
        if !matches!(leaving.id, "output.swapped" | "output.still-written") {
            break;
        }
    }
    Ok(match harm(&root.join("out"))? {
        Some(how) => Verdict::Through(how),
        None => Verdict::Stopped("nothing came of it".to_owned()),
    })
}

/// Reads a file by its name, if it is one when it is looked at.
fn plain(path: &Path) -> Vec<u8> {
    let is_small = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() < 1 << 20);
    if is_small {
        fs::read(path).unwrap_or_default()
    } else {
        Vec::new()
    }
}

/// What a copy by names would have brought along.
fn harm(dir: &Path) -> Result<Option<String>, Failure> {
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let shown = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.as_os_str().len() > PATH_MAX {
            return Ok(Some("a path is longer than any call takes".to_owned()));
        }
        let Ok(found) = path.symlink_metadata() else {
            continue;
        };
        let kind = found.file_type();
        let name = path.file_name().unwrap_or_default().as_bytes();
        let how = if kind.is_block_device() || kind.is_char_device() {
            Some("is a device file")
        } else if kind.is_fifo() || kind.is_socket() {
            Some("would be waited for")
        } else if found.is_file() && found.mode() & 0o6000 != 0 {
            Some("gives its user or group to whoever runs it")
        } else if found.len() > SIZE_MAX {
            Some("is larger than any disk")
        } else if name.contains(&b'\n') || std::str::from_utf8(name).is_err() {
            Some("is another name in a list of lines")
        } else if name.starts_with(b".wh.") {
            Some("is a whiteout in an archive")
        } else if let Some(how) = marked(&path) {
            return Ok(Some(format!("{shown} has {how}")));
        } else {
            None
        };
        if let Some(how) = how {
            return Ok(Some(format!("{shown} {how}")));
        }
        if found.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        }
    }
    Ok(None)
}

/// Attributes and flags that a copy keeps.
fn marked(path: &Path) -> Option<String> {
    use std::os::fd::AsRawFd as _;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut list = vec![0; 4096];
    let got = raw::call(
        libc::SYS_llistxattr,
        &mut [Arg::S(&name), Arg::W(&mut list), Arg::N(4096)],
    )
    .ok()?;
    list.truncate(usize::try_from(got).unwrap_or(0));
    if let Some(found) = list
        .split(|byte| *byte == 0)
        .find(|name| !name.is_empty() && !name.starts_with(b"security.selinux"))
    {
        return Some(format!("the attribute {}", String::from_utf8_lossy(found)));
    }
    let file = path
        .symlink_metadata()
        .ok()?
        .is_file()
        .then(|| File::open(path).ok())??;
    let mut flags = [0; 8];
    let words = &mut [
        Arg::N(file.as_raw_fd().into()),
        Arg::N(0x8008_6601),
        Arg::W(&mut flags),
    ];
    raw::call(libc::SYS_ioctl, words).ok()?;
    (flags[0] & 0x30 != 0).then(|| "a flag by which nobody can remove it".to_owned())
}
