//! Measures stacks: `stacks WORK LAYERS [N COMMAND...]`.
//!
//! LAYERS is a directory with one directory for each layer, taken in the order of their names, the
//! base first. WORK, on a disk, is where a store is made. Each way to mount the stack is measured in
//! turn: the layers, an image of them, and the same tree as one directory, under an overlay as a
//! step has it and bare. With a COMMAND, it is run N times in each of these but the last, in turn.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use caravan_store::{Image, Stack, Store};
use rustix::{
    fs::{CWD, Mode, OFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen,
    },
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const MISSES: usize = 2000;
const ROUNDS: usize = 7;

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let [work, layers, rest @ ..] = args.as_slice() else {
        eprintln!("usage: stacks WORK LAYERS [N COMMAND...]");
        return ExitCode::FAILURE;
    };
    match measure(Path::new(work), Path::new(layers), rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(work: &Path, layers: &Path, command: &[OsString]) -> Result<()> {
    let _ = fs::remove_dir_all(work);
    fs::create_dir_all(work)?;
    let store = Store::open(&work.join("store"))?;
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(layers)? {
        names.push(entry?.path());
    }
    names.sort();
    let mut trees = Vec::new();
    let (one, files) = (work.join("one"), work.join("files"));
    fs::create_dir(&one)?;
    for name in &names {
        let copy = work.join("copy");
        run(Command::new("cp").args(["-a", "--"]).arg(name).arg(&copy))?;
        trees.push(store.ingest_dir(&copy)?.tree);
    }
    let (base, above) = trees.split_first().ok_or("find a layer")?;
    let began = Instant::now();
    let stack = store.stack(*base, above)?;
    say("find the layers", began);
    for lower in &stack.lowers {
        run(Command::new("cp")
            .args(["-al", "--remove-destination", "--"])
            .arg(lower.join("."))
            .arg(&one))?;
    }
    let began = Instant::now();
    store.prepare(*base, above)?;
    say("make the image", began);
    let stack = store.stack(*base, above)?;
    let image = stack.image.clone().ok_or("have an image")?;
    println!(
        "{} layers, image of {} bytes",
        stack.lowers.len(),
        fs::metadata(&image.file)?.len()
    );
    let place = Place {
        files,
        stack,
        image,
        one,
    };
    for cold in [false, true] {
        look_ups(&place, cold)?;
    }
    if let [times, command @ ..] = command {
        let times: usize = times
            .to_str()
            .and_then(|times| times.parse().ok())
            .ok_or("read N")?;
        builds(&place, times, command)?;
    }
    Ok(())
}

struct Place {
    files: PathBuf,
    stack: Stack,
    image: Image,
    one: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Layers,
    Image,
    OneUnderOverlay,
    Bare,
}

const WAYS: [Way; 4] = [Way::Layers, Way::Image, Way::OneUnderOverlay, Way::Bare];

impl Place {
    /// Empty directories for the next mount.
    fn clear(&self) -> Result<()> {
        let _ = fs::remove_dir_all(&self.files);
        for name in ["upper", "work"] {
            fs::create_dir_all(self.files.join(name))?;
        }
        Ok(())
    }

    fn mount(&self, way: Way) -> Result<OwnedFd> {
        if way == Way::Bare {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            return Ok(rustix::fs::openat(CWD, &self.one, flags, Mode::empty())?);
        }
        let (upper, inner) = (self.files.join("upper"), self.files.join("work"));
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        // It goes with its descriptor, and must stay until the overlay has it.
        let mut kept = None;
        match way {
            Way::Image => {
                let shown = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
                fsconfig_set_string(&shown, "source", &self.image.file)?;
                fsconfig_set_flag(&shown, "ro")?;
                fsconfig_create(&shown)?;
                let flags = MountAttrFlags::empty();
                let shown = fsmount(&shown, FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
                for lower in self.stack.lowers[self.image.covers..].iter().rev() {
                    fsconfig_set_string(&fs, "lowerdir+", lower)?;
                }
                let name = format!("/proc/self/fd/{}/", shown.as_raw_fd());
                fsconfig_set_string(&fs, "lowerdir+", name)?;
                fsconfig_set_string(&fs, "datadir+", &self.image.files)?;
                kept = Some(shown);
            }
            Way::Layers => {
                for lower in self.stack.lowers.iter().rev() {
                    fsconfig_set_string(&fs, "lowerdir+", lower)?;
                }
            }
            Way::OneUnderOverlay | Way::Bare => fsconfig_set_string(&fs, "lowerdir+", &self.one)?,
        }
        fsconfig_set_string(&fs, "upperdir", &upper)?;
        fsconfig_set_string(&fs, "workdir", &inner)?;
        for key in ["index", "metacopy", "redirect_dir", "nfs_export"] {
            fsconfig_set_string(&fs, key, "off")?;
        }
        fsconfig_set_flag(&fs, "volatile")?;
        fsconfig_create(&fs)?;
        drop(kept);
        Ok(fsmount(
            &fs,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?)
    }

    /// The directory that most layers have.
    fn shared_dir(&self) -> Result<String> {
        let mut counts: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for lower in &self.stack.lowers {
            let mut left = vec![PathBuf::new()];
            while let Some(dir) = left.pop() {
                for entry in fs::read_dir(lower.join(&dir))? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        left.push(dir.join(entry.file_name()));
                    }
                }
                *counts.entry(dir).or_default() += 1;
            }
        }
        counts.remove(Path::new(""));
        let deepest = |(dir, count): &(&PathBuf, &usize)| (**count, dir.components().count());
        let found = counts
            .iter()
            .max_by_key(deepest)
            .ok_or("find a directory")?;
        println!("{} is in {} layers", found.0.display(), found.1);
        Ok(found.0.display().to_string())
    }
}

fn look_ups(place: &Place, cold: bool) -> Result<()> {
    let dir = place.shared_dir()?;
    let mut mounts: BTreeMap<Way, Vec<f64>> = BTreeMap::new();
    let mut misses: BTreeMap<Way, Vec<f64>> = BTreeMap::new();
    let mut again: BTreeMap<Way, Vec<f64>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for way in WAYS {
            place.clear()?;
            if cold {
                rustix::fs::sync();
                fs::write("/proc/sys/vm/drop_caches", "3")?;
            }
            let began = Instant::now();
            let mount = place.mount(way)?;
            mounts.entry(way).or_default().push(micros(began));
            let top = format!("/proc/self/fd/{}/{dir}", mount.as_raw_fd());
            fs::metadata(&top)?;
            // Other names each time: what is not there is remembered by the file system below.
            let names: Vec<String> = (0..MISSES)
                .map(|at| format!("{top}/no-{cold}-{round}-{way:?}-{at}.h"))
                .collect();
            for into in [&mut misses, &mut again] {
                let began = Instant::now();
                let found = names
                    .iter()
                    .filter(|name| fs::symlink_metadata(name).is_ok())
                    .count();
                if found > 0 {
                    return Err("miss what is missing".into());
                }
                into.entry(way)
                    .or_default()
                    .push(micros(began) / MISSES as f64);
            }
        }
    }
    println!(
        "{}",
        if cold {
            "caches dropped before each mount"
        } else {
            "caches warm"
        }
    );
    println!(
        "{:18} {:>18} {:>18} {:>18}",
        "median (min), us", "mount", "first miss", "same again"
    );
    for way in WAYS {
        let cell = |of: &mut BTreeMap<Way, Vec<f64>>| median_min(of.entry(way).or_default());
        let name = format!("{way:?}");
        println!(
            "{name:18} {:>18} {:>18} {:>18}",
            cell(&mut mounts),
            cell(&mut misses),
            cell(&mut again)
        );
    }
    Ok(())
}

fn builds(place: &Place, times: usize, command: &[OsString]) -> Result<()> {
    let mut took: BTreeMap<Way, Vec<f64>> = BTreeMap::new();
    for round in 0..times {
        let mut ways = [Way::Layers, Way::Image, Way::OneUnderOverlay];
        ways.rotate_left(round % 3);
        for way in ways {
            place.clear()?;
            let mount = place.mount(way)?;
            let root = format!("/proc/{}/fd/{}", std::process::id(), mount.as_raw_fd());
            let began = Instant::now();
            run(Command::new("chroot")
                .arg(root)
                .args(command)
                .stdout(Stdio::null()))?;
            took.entry(way).or_default().push(micros(began) / 1000.0);
        }
    }
    println!("{:18} {:>24}", "median (min), ms", "command");
    for (way, mut took) in took {
        println!("{:18} {:>24}", format!("{way:?}"), median_min(&mut took));
    }
    Ok(())
}

fn median_min(of: &mut [f64]) -> String {
    of.sort_by(f64::total_cmp);
    let pick = |at: usize| of.get(at).copied().unwrap_or(f64::NAN);
    format!("{:.2} ({:.2})", pick(of.len() / 2), pick(0))
}

fn micros(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6
}

fn say(what: &str, began: Instant) {
    println!("{what}: {:.1} ms", micros(began) / 1000.0);
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("run {command:?}: {status}")).into())
    }
}
